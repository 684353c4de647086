//! What comes back of the mail that was sent: return paths that name the e-mail ([`return_path`]), and reports that are matched with
//! it ([`matching`]).

pub(crate) mod matching;
pub(crate) mod return_path;
