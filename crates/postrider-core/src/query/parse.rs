//! Reading the language. Anything is either read or refused with a reason; nothing is guessed.

use std::str::FromStr;

use super::keys::{self, KEYS, Key};
use super::{Condition, Criterion, QUERY_BYTES_MAX, QUERY_TERMS_MAX, Query, QueryError, QueryTerm};

impl Query {
    /// Reads a query: terms with blanks between them. A term is `key:value`, a word, or words in quotes; `-` before it turns it
    /// into its opposite. A value or words with blanks in it stand in quotes, where `\"` and `\\` are the characters
    /// themselves.
    ///
    /// # Errors
    ///
    /// Names the character at which it cannot be read, and what is allowed there.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > QUERY_BYTES_MAX {
            return Err(QueryError {
                position: 1,
                reason: format!("the query is longer than {QUERY_BYTES_MAX} bytes"),
            });
        }
        let mut reader = Reader { text, at: 0 };
        let mut terms = Vec::new();
        while reader.skip_blanks() {
            if terms.len() == QUERY_TERMS_MAX {
                return Err(reader.error(reader.at, format!("there are more than {QUERY_TERMS_MAX} terms")));
            }
            terms.push(reader.term()?);
        }
        Ok(Self { terms })
    }
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}

struct Reader<'t> {
    text: &'t str,
    /// A boundary of characters.
    at: usize,
}

impl<'t> Reader<'t> {
    /// Whether something is left behind the blanks.
    fn skip_blanks(&mut self) -> bool {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.at < self.text.len()
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn term(&mut self) -> Result<QueryTerm, QueryError> {
        let is_negated = self.rest().starts_with('-');
        self.at += usize::from(is_negated);
        let start = self.at;
        let criterion = match self.key()? {
            Some(key) => {
                let value_at = self.at;
                let value = self.value()?;
                if value.is_empty() {
                    return Err(self.error(value_at, format!("behind {}: there must be {}", key.name, key.value)));
                }
                (key.read)(&value).map_err(|reason| self.error(value_at, reason))?
            }
            None => {
                let value = self.value()?;
                if value.is_empty() {
                    return Err(self.error(start, "here must be a word, or key:value".into()));
                }
                let words = keys::words(&value).map_err(|reason| self.error(start, reason))?;
                Criterion::Is(Condition::Text(words))
            }
        };
        Ok(QueryTerm { is_negated, criterion })
    }

    /// The key that the term begins with: letters and a colon. What has other characters before the colon is a word.
    fn key(&mut self) -> Result<Option<&'static Key>, QueryError> {
        let Some((name, _)) = self.rest().split_once(':') else { return Ok(None) };
        let is_name = |c: char| c.is_ascii_alphabetic() || c == '-';
        if name.is_empty() || !name.chars().all(is_name) {
            return Ok(None);
        }
        let Some(key) = Key::named(name) else {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            let reason = format!(
                "there is no key {name}; there are {}. To look for the text itself, put it in quotes",
                names.join(", ")
            );
            return Err(self.error(self.at, reason));
        };
        self.at += name.len() + 1;
        Ok(Some(key))
    }

    /// What stands up to the next blank, or in quotes.
    fn value(&mut self) -> Result<String, QueryError> {
        let Some(quoted) = self.rest().strip_prefix('"') else {
            let rest = self.rest();
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            self.at += end;
            return Ok(rest[..end].to_owned());
        };
        let (start, mut value) = (self.at, String::new());
        let mut characters = quoted.char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at = start + 1 + at + 1;
                    if !self.rest().is_empty() && !self.rest().starts_with(char::is_whitespace) {
                        return Err(self.error(self.at, "behind the closing quote there must be a blank".into()));
                    }
                    return Ok(value);
                }
                '\\' => match characters.next() {
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    _ => {
                        let reason = r#"behind a backslash in quotes there must be \ or ""#;
                        return Err(self.error(start + 1 + at, reason.into()));
                    }
                },
                c => value.push(c),
            }
        }
        Err(self.error(start, "this quote is not closed".into()))
    }

    fn error(&self, at: usize, reason: String) -> QueryError {
        QueryError { position: self.text[..at].chars().count() + 1, reason }
    }
}
