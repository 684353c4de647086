//! docs/search.md, written from the table of keys.

use std::fmt::Write as _;

use super::{KEYS, QUERY_BYTES_MAX, QUERY_TERMS_MAX};

const HEAD: &str = "\
# Finding e-mails

<!-- Written by `cargo xtask docs` from crates/postrider-core/src/query. -->

The parameter `q` of `GET /api/emails`, the member `q` of the filter of `POST /api/emails/bulk/{action}`, and `postrider email list`
take the same small language:

    status:deferred domain:gmail.com older:1h \"invoice\"

An e-mail is found if every term is true of it. Terms have blanks between them. A term is

- `key:value`, with the keys below;
- a word, which is looked for in subject, addresses, Message-ID and text;
- `\"words in quotes\"`, which must stand one after the other;
- any of these behind `-`, which finds all of which it is not true: `-status:sent`.

A value with a blank in it stands in quotes, as in `tag:\"spring sale\"`; in quotes `\\\"` is a quote and `\\\\` a backslash. A query has
";

const TAIL: &str = "
## Words

A word is a run of letters and digits, whatever its case; everything else only divides words. So `invoice` finds `Invoice_7` and
`INVOICE`, not `invoices`, and `ann@example.org` is four words one after the other. In scripts without blanks between words each
character counts as one. Of a message's text the first 64 KiB are searched, with MongoDB all of it: the plain text, or the HTML as text
where there is no other. What is in attachments is not searched.

## How much is looked at

`status` (but for `sent` and `received`), `tag`, `id`, and times lead to what matches by an index, `error` to what has an error; so do
words, `subject`, `messageid`, `domain`, and `sender` and `recipient` with a whole address. With any other term alone, e-mails are gone
through one by one, in the order of the list: 100000 at most for one answer (with MongoDB 20000 where texts must be read, which is for
`-word` alone), and with the embedded store for a second at most. If that did not fill the page, the answer has `\"incomplete\": true` in its `pagination`, and
`nextCursor` goes on where it ended.

Words are indexed behind the acceptance, within a second as a rule. With the embedded store a search waits up to a second for that. Where
mail comes faster than it can be indexed, or the index of a store is still being built, `incomplete` is true as well: what came last may
not be found by its text yet, and what must not have a word (`-word`) is left out until that is known. With MongoDB a search indexes for half
a second itself, and looks at the rest one by one; where these are more than 2000, or the index of an older database is still being
built, texts are read instead of the index, 20000 at most for one answer.

What matches is counted up to 10000, with MongoDB words for a tenth of a second; where there may be more, `totalIsAtLeast` is true. What only asks for statuses is always counted.
";

/// The page for people.
pub fn document() -> String {
    let mut text = format!("{HEAD}{QUERY_TERMS_MAX} terms at most, and {QUERY_BYTES_MAX} bytes.\n\n");
    text.push_str("| key | value | finds |\n|---|---|---|\n");
    for key in KEYS {
        let names: Vec<String> = [key.name].iter().chain(key.aliases).map(|name| format!("`{name}:`")).collect();
        let _ = writeln!(text, "| {} | {} | {} |", names.join(", "), key.value, key.finds);
    }
    text.push_str(TAIL);
    text
}
