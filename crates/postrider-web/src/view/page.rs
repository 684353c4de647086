//! A page of a list of e-mails.

use postrider_store::{EmailPage, ListOrder};
use serde::Serialize;

use super::EmailView;
use super::cursor::{Cursor, FilterMark};

/// A page of a list of e-mails.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct EmailPageView {
    emails: Vec<EmailView>,
    pagination: EmailPagination,
}

/// Where a page stands in its list.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
struct EmailPagination {
    page: u64,
    limit: u64,
    /// How many match. With a cursor, how many did when the first page was read.
    total: u64,
    pages: u64,
    /// There where more may match than `total` says; then there may be more pages, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    total_is_at_least: bool,
    /// Leads to the next page, whatever comes or goes meanwhile; not there on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
    /// Leads to the page before; not there on the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_cursor: Option<String>,
    /// There where not all was looked at that may match: `nextCursor` goes on there. Without one, not all texts are indexed yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

impl EmailPageView {
    /// What the store answered when it was asked for page `page`, with `limit` e-mails a page, of the list of a filter.
    pub fn new(found: EmailPage, list: (FilterMark, ListOrder), page: u64, limit: u64) -> Self {
        let (next, previous) = Cursor::around(&found, list, page);
        let pagination = EmailPagination {
            page,
            limit,
            total: found.total,
            pages: found.total.div_ceil(limit.max(1)),
            total_is_at_least: found.total_is_at_least,
            next_cursor: next.map(|cursor| cursor.to_string()),
            prev_cursor: previous.map(|cursor| cursor.to_string()),
            incomplete: found.is_incomplete,
        };
        Self { emails: found.emails.into_iter().map(EmailView::from).collect(), pagination }
    }

    /// What the store answered for a cursor.
    pub fn of_cursor(found: EmailPage, cursor: &Cursor, limit: u64) -> Self {
        Self::new(cursor.counted(found), (cursor.filter, cursor.order), u64::from(cursor.page), limit)
    }
}
