//! What the JSON parser says, in the words of JSON: it names types of this program, which nobody knows who sends a request.

/// Stands before what it expected.
const EXPECTED: &str = ", expected ";

/// Stand before what it found.
const FOUND: [&str; 2] = ["invalid type: ", "invalid value: "];

/// What the framework puts before it.
const PREFIXES: [&str; 2] =
    ["Failed to deserialize the JSON body into the target type: ", "Failed to parse the request body as JSON: "];

/// An error of the parser in words of JSON.
pub(crate) fn plain(error: &str) -> String {
    let error = PREFIXES.iter().find_map(|prefix| error.strip_prefix(prefix)).unwrap_or(error);
    // What was found may hold anything, also these words.
    let Some((found, expected)) = error.rsplit_once(EXPECTED) else { return error.to_owned() };
    let (expected, place) = expected.split_at(expected.rfind(" at line ").unwrap_or(expected.len()));
    format!("{}{EXPECTED}{}{place}", found_in_json(found), expected_in_json(expected))
}

fn found_in_json(found: &str) -> String {
    let Some((at, found_at)) = FOUND.iter().find_map(|start| Some((found.find(start)?, start.len()))) else {
        return found.to_owned();
    };
    let (before, found) = found.split_at(at + found_at);
    let words = [
        ("map", "an object"),
        ("sequence", "a list"),
        ("unit value", "null"),
        ("integer ", "the number "),
        ("floating point ", "the number "),
        ("boolean ", ""),
        ("string ", "the text "),
    ];
    let said = words.iter().find_map(|(word, said)| found.strip_prefix(word).map(|rest| format!("{said}{rest}")));
    format!("{before}{}", said.unwrap_or_else(|| found.to_owned()))
}

fn expected_in_json(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 to 18446744073709551615",
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "isize" => "a whole number from -9223372036854775808 to 9223372036854775807",
        "u128" | "i128" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "string" | "str" => "a text",
        "a sequence" => "a list",
        "a map" => "an object",
        "unit" => "null",
        _ if expected.starts_with("struct ") => "an object",
        _ if expected.starts_with("enum ") || expected.starts_with("variant ") => "one of its words",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "it is never read")]
    struct Said {
        count: Option<u64>,
        level: Option<i8>,
        share: Option<f64>,
        is_on: Option<bool>,
        name: Option<String>,
        names: Option<Vec<String>>,
        pairs: Option<BTreeMap<String, String>>,
        inner: Option<Box<Said>>,
        word: Option<Word>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Yes,
        No,
    }

    fn said(json: &str) -> String {
        plain(&serde_json::from_str::<Said>(json).unwrap_err().to_string())
    }

    #[test]
    fn no_type_of_ours_is_named() {
        let at = " at line 1 column ";
        for (json, start) in [
            (r#""x""#, r#"invalid type: the text "x", expected an object"#),
            ("[7]", "invalid length 1, expected an object"),
            (
                r#"{"count": -1}"#,
                "invalid value: the number `-1`, expected a whole number from 0 to 18446744073709551615",
            ),
            (r#"{"count": "x"}"#, r#"invalid type: the text "x", expected a whole number from 0 to"#),
            (
                r#"{"count": 1e30}"#,
                "invalid type: the number `1e+30`, expected a whole number from 0 to 18446744073709551615",
            ),
            (r#"{"level": 1000}"#, "invalid value: the number `1000`, expected a whole number from -128 to 127"),
            (r#"{"share": []}"#, "invalid type: a list, expected a number"),
            (r#"{"isOn": "yes"}"#, r#"invalid type: the text "yes", expected true or false"#),
            (r#"{"name": {}}"#, "invalid type: an object, expected a text"),
            (r#"{"name": 1.5}"#, "invalid type: the number `1.5`, expected a text"),
            (r#"{"names": true}"#, "invalid type: `true`, expected a list"),
            (r#"{"pairs": []}"#, "invalid type: a list, expected an object"),
            (r#"{"inner": 7}"#, "invalid type: the number `7`, expected an object"),
            (r#"{"word": "maybe"}"#, "unknown variant `maybe`, expected `yes` or `no`"),
            (r#"{"more": 1}"#, "unknown field `more`, expected one of `count`, `level`"),
            (r#"{"count": ", expected u64"}"#, r#"invalid type: the text ", expected u64", expected a whole"#),
        ] {
            let said = said(json);
            assert!(said.starts_with(start) && said.contains(at) && !said.contains("struct"), "{json}: {said}");
        }
        assert_eq!(plain(&format!("{}a: trailing characters", PREFIXES[0])), "a: trailing characters");
    }
}
