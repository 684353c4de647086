//! What a message is made of: header fields, parts with their byte ranges, decoding, and the texts in which IMAP describes them.
//!
//! Pure functions over bytes as they are stored. Any bytes are a message: nothing here fails on broken mail, and every
//! size that a sender decides has a limit. Knows no mailbox, no session and no store.

mod address_list;
mod header;
mod imap_text;
mod parameters;
mod preview;
mod search;
mod structure;
mod transfer;
mod words;

pub use address_list::ADDRESSES_MAX;
pub use header::{FIELD_BYTES_MAX, Field, Fields, header_end, select_fields};
pub use imap_text::{BODY_STRUCTURE_BYTES_MAX, write_string};
pub use parameters::{ContentType, Disposition, Parameters};
pub use preview::PREVIEW_CHARACTERS_MAX;
pub use search::Needle;
pub use structure::{DEPTH_MAX, PARTS_MAX, Part, PartKind, Section, Structure};
pub use transfer::{TransferEncoding, UnknownEncoding};

pub(crate) use address_list::{AddressList, Item};
pub(crate) use imap_text::{EnvelopeFields, write_body_structure};
pub(crate) use preview::preview;
pub(crate) use words::{decode_words, decode_words_into};
