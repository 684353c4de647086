//! DKIM signatures on what is sent (RFC 6376, RFC 8463): keys are made here, found again, published by somebody else, and used.
//!
//! [`sign`] knows no store, [`signers`] no message.

mod anew;
mod generate;
mod publication;
mod sign;
mod signers;

pub use generate::{GenerateError, KeyPairs};
pub use publication::{Publication, published};

pub(crate) use publication::watch;
pub(crate) use sign::Signer;
pub(crate) use signers::Signers;
