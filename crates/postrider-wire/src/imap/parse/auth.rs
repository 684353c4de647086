//! AUTHENTICATE, LOGIN, ENABLE, ID, COMPRESS (RFC 9051 sections 6.2, 6.3.1; RFC 2971, RFC 4959, RFC 4978, RFC 5161).

use super::{Parsed, Parser, Request};
use crate::imap::command::{CommandBody, Extension};
use crate::sasl::{CREDENTIAL_BYTES_MAX, Password};

/// RFC 2971 section 3.3.
const ID_FIELDS_MAX: usize = 30;
const ID_FIELD_BYTES_MAX: usize = 30;
const ID_VALUE_BYTES_MAX: usize = 1024;

/// `AUTHENTICATE SP auth-type [SP initial-resp]`
pub(in crate::imap) fn authenticate(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let mechanism = parser.atom("a mechanism")?.to_owned();
    let initial_response = if parser.take(b' ') && parser.peek().is_some() {
        Some(parser.atom("an initial response in base64")?.to_owned())
    } else {
        None
    };
    Ok(Request::Authenticate { mechanism, initial_response })
}

/// `LOGIN SP userid SP password`
pub(in crate::imap) fn login(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    let user = credential(parser, "a user name")?;
    parser.space()?;
    let password = credential(parser, "a password")?;
    Ok(Request::Login { user, password: Password::new(password) })
}

/// Those that no user can have are not looked up.
fn credential(parser: &mut Parser<'_>, what: &'static str) -> Parsed<String> {
    let start = parser.position;
    let text = parser.astring(what)?;
    if text.is_empty() || text.len() > CREDENTIAL_BYTES_MAX || text.chars().any(char::is_control) {
        parser.position = start;
        return parser.expected(what);
    }
    Ok(text.into_owned())
}

/// `ENABLE 1*(SP capability)`
pub(in crate::imap) fn enable(parser: &mut Parser<'_>) -> Parsed<Request> {
    let mut extensions = Vec::new();
    while parser.take(b' ') {
        if !extensions.is_empty() && parser.peek().is_none() {
            break;
        }
        let name = parser.atom("a capability")?;
        let known = [Extension::Condstore, Extension::Qresync, Extension::Utf8Accept, Extension::Imap4Rev2];
        let extension = known.into_iter().find(|extension| extension.as_str().eq_ignore_ascii_case(name));
        extensions.push(extension.unwrap_or_else(|| Extension::Other(name.to_owned())));
        parser.check_count(extensions.len())?;
    }
    if extensions.is_empty() {
        return parser.expected("a capability");
    }
    Ok(Request::Command(CommandBody::Enable(extensions)))
}

/// `ID SP ("(" [string SP nstring *(SP string SP nstring)] ")" / nil)`. What is beyond RFC 2971's limits is left out, not
/// refused: it is only for the log.
pub(in crate::imap) fn id(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    if parser.take_word("NIL") {
        return Ok(Request::Command(CommandBody::Id(Vec::new())));
    }
    let mut fields = parser.list(true, |parser| {
        let name = parser.string("the name of a field")?.into_owned();
        parser.space()?;
        let value = parser.nstring("a string or NIL")?.map(std::borrow::Cow::into_owned);
        Ok((name, value))
    })?;
    fields.retain(|(name, value)| {
        name.len() <= ID_FIELD_BYTES_MAX && value.as_ref().is_none_or(|value| value.len() <= ID_VALUE_BYTES_MAX)
    });
    fields.truncate(ID_FIELDS_MAX);
    Ok(Request::Command(CommandBody::Id(fields)))
}

/// `COMPRESS SP algorithm`
pub(in crate::imap) fn compress(parser: &mut Parser<'_>) -> Parsed<Request> {
    parser.space()?;
    Ok(Request::Compress { algorithm: parser.atom("an algorithm")?.to_owned() })
}
