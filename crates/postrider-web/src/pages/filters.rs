//! How templates show what strangers chose: subjects, addresses, names of files. It must not be read in another order than it is
//! written, nor turn round what stands beside it. Knows no page.

#![expect(unreachable_pub, reason = "of a filter the macro makes a type, whose methods are public")]

use std::fmt::Display;

use askama::Values;
use askama::filters::{Escaper as _, Html, Safe};

use crate::bidi::in_order;

/// For an element: isolated from what stands around it, in the direction of its own letters.
#[askama::filter_fn]
pub(super) fn foreign(text: impl Display, _: &dyn Values) -> askama::Result<Safe<String>> {
    let mut html = String::from("<bdi>");
    Html.write_escaped_str(&mut html, &in_order(&text.to_string()))?;
    html.push_str("</bdi>");
    Ok(Safe(html))
}

/// For attributes, which have no elements, and for sentences in which it stands. Not for values that are sent back.
#[askama::filter_fn]
pub(super) fn visible(text: impl Display, _: &dyn Values) -> askama::Result<String> {
    Ok(in_order(&text.to_string()).into_owned())
}

#[cfg(test)]
mod tests {
    use askama::Template;

    use crate::pages::filters;

    #[derive(Template)]
    #[template(source = "<a title=\"{{ text|visible }}\">{{ text|foreign }}</a>", ext = "html")]
    struct Shown<'a> {
        text: &'a str,
    }

    #[test]
    fn no_text_is_read_in_another_order_than_it_is_written() {
        let shown = |text| Shown { text }.render().unwrap();
        assert_eq!(
            shown("invoice\u{202E}gpj.exe"),
            "<a title=\"invoice[U+202E]gpj.exe\"><bdi>invoice[U+202E]gpj.exe</bdi></a>"
        );
        assert_eq!(shown("<b>\""), "<a title=\"&#60;b&#62;&#34;\"><bdi>&#60;b&#62;&#34;</bdi></a>");
    }
}
