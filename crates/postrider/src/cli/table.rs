//! Aligned columns of text.

use std::fmt;

use anstyle::Style;

use crate::cli::output::BOLD;

/// A cell's text is cut behind this many characters, unless its column is the last.
const CELL_CHARS_MAX: usize = 48;
/// The last column's text is cut later: nothing comes behind it.
const LAST_CELL_CHARS_MAX: usize = 120;

/// Rows under headings. Cells are as wide as the widest of their column.
#[derive(Debug)]
pub(super) struct Table {
    headings: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// A text on one line, and how it looks.
#[derive(Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
    is_number: bool,
}

impl Table {
    pub(super) fn new(headings: &'static [&'static str]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// Adds a row with a cell for each heading.
    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headings.len(), "a cell for each heading");
        self.rows.push(cells.into());
    }

    /// As cells, each on the side of its column.
    fn headings(&self) -> Vec<Cell> {
        let is_number = |i: usize| self.rows.first().and_then(|row| row.get(i)).is_some_and(|cell| cell.is_number);
        let heading = |(i, text)| Cell { is_number: is_number(i), ..Cell::styled(text, BOLD) };
        self.headings.iter().enumerate().map(heading).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.chars().count()).collect();
        let last = widths.len().saturating_sub(1);
        for row in &self.rows {
            for (i, (width, cell)) in widths.iter_mut().zip(row).enumerate() {
                *width = (*width).max(cell.cut(i == last).chars().count());
            }
        }
        widths
    }
}

impl Cell {
    pub(super) fn text(text: impl AsRef<str>) -> Self {
        Self::styled(text, Style::new())
    }

    /// A number, or what stands in its place: at the right of its column.
    pub(super) fn number(number: impl fmt::Display) -> Self {
        Self { text: number.to_string(), style: Style::new(), is_number: true }
    }

    pub(super) fn styled(text: impl AsRef<str>, style: Style) -> Self {
        // What comes from outside must neither break the line nor drive the terminal.
        let text = text.as_ref().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Self { text, style, is_number: false }
    }

    fn cut(&self, is_last: bool) -> String {
        let chars_max = if is_last { LAST_CELL_CHARS_MAX } else { CELL_CHARS_MAX };
        if self.text.chars().count() <= chars_max {
            return self.text.clone();
        }
        self.text.chars().take(chars_max - 1).chain(['…']).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let headings = self.headings();
        for row in std::iter::once(&headings).chain(&self.rows) {
            for (i, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let is_last = i + 1 == widths.len();
                let text = cell.cut(is_last);
                let padding = " ".repeat(width - text.chars().count());
                let style = cell.style;
                let gap = if i == 0 { "" } else { "  " };
                match (cell.is_number, is_last) {
                    (true, _) => write!(f, "{gap}{padding}{style}{text}{style:#}")?,
                    (false, true) => write!(f, "{gap}{style}{text}{style:#}")?,
                    (false, false) => write!(f, "{gap}{style}{text}{style:#}{padding}")?,
                }
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["NAME", "COUNT", "ERROR"]);
        table.row([Cell::text("ä"), Cell::number(7), Cell::text("line\nbreak \u{1b}[31m")]);
        table.row([Cell::text("longer"), Cell::number(1234567), Cell::text("")]);
        let text = strip_str(&table.to_string()).to_string();
        assert_eq!(
            text,
            "NAME      COUNT  ERROR\n\
             ä             7  line break  [31m\n\
             longer  1234567  \n"
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell::text("x".repeat(500)), Cell::text("y".repeat(500))]);
        let text = table.to_string();
        let row = text.lines().nth(1).unwrap();
        assert_eq!(strip_str(row).to_string().chars().count(), CELL_CHARS_MAX + 2 + LAST_CELL_CHARS_MAX);
        assert!(strip_str(row).to_string().ends_with('…'));
    }
}
