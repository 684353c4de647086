//! Where a page of a list stands, by number, and the ways to its neighbours.

use super::address::Address;
use super::format::{Counted, Grouped};
use crate::api::emails::list::{PAGE_MAX, number};
use crate::extract::Parameters;
use crate::problem::Problem;

/// Rows of a page.
pub(super) const ROWS: u64 = 50;

/// Where a page stands in its list.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) total: Grouped,
    pub(super) page: Grouped,
    pub(super) pages: Grouped,
    pub(super) next: Option<Address>,
    pub(super) previous: Option<Address>,
}

impl Paging {
    /// Of page `page` of a list of `total`; `here` is the page's own address.
    pub(super) fn new(here: &Address, page: u64, total: u64) -> Self {
        let pages = total.div_ceil(ROWS).max(1);
        let to = |page: u64| here.with("page", &page.to_string());
        Self {
            total: Grouped(total),
            page: Grouped(page),
            pages: Grouped(pages),
            next: (page < pages).then(|| to(page + 1)),
            // From behind the end the way leads to the last page.
            previous: (page > 1).then(|| to((page - 1).min(pages))),
        }
    }
}

impl Paging {
    /// How many there are, by the words for one and for several.
    pub(super) fn counted(&self, one: &'static str, several: &'static str) -> Counted {
        Counted(self.total.0, one, several)
    }
}

/// Which page is asked for; the first where nothing is said.
pub(super) fn page_of(parameters: &mut Parameters) -> Result<u64, Problem> {
    Ok(parameters.read("page", |value| number(value, PAGE_MAX))?.unwrap_or(1))
}

/// One page of a whole list.
pub(super) fn cut<T>(all: Vec<T>, page: u64) -> Vec<T> {
    let skipped = usize::try_from((page - 1).saturating_mul(ROWS)).unwrap_or(usize::MAX);
    all.into_iter().skip(skipped).take(ROWS as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_those_that_there_are() {
        let here = Address::new("/users").with("q", "ann");
        let around = |page, total| {
            let paging = Paging::new(&here, page, total);
            let text = |address: Option<Address>| address.map(|address| address.to_string());
            (text(paging.previous), text(paging.next))
        };
        let to = |page: u64| Some(format!("/users?q=ann&amp;page={page}"));
        assert_eq!(around(1, 0), (None, None));
        assert_eq!(around(1, ROWS), (None, None));
        assert_eq!(around(1, ROWS + 1), (None, to(2)));
        assert_eq!(around(2, ROWS * 3), (to(1), to(3)));
        assert_eq!(around(9, ROWS * 3), (to(3), None));
        assert_eq!(cut((0..120).collect(), 3), (100..120).collect::<Vec<u64>>());
    }
}
