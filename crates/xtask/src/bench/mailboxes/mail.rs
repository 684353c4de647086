//! The mail that is delivered: text as people write it, in invented words, each message another one and always the same.

use std::fmt::Write as _;

use super::super::load::PAYLOAD_BYTES;

/// In the subject of every [`SUBJECT_EVERY`]th message and nowhere else.
pub(super) const SUBJECT_WORD: &str = "walrus";
pub(super) const SUBJECT_EVERY: u64 = 200;
/// In the text of every [`TEXT_EVERY`]th message and nowhere else.
pub(super) const TEXT_WORD: &str = "flywheel";
pub(super) const TEXT_EVERY: u64 = 500;
/// In no message.
pub(super) const ABSENT_WORD: &str = "xylophone";

const WORDS: usize = 4_000;
const LINE_BYTES_MAX: usize = 72;
const SYLLABLES: &[&str] = &[
    "ba", "den", "co", "fir", "ga", "hel", "in", "jo", "ka", "lom", "mi", "nar", "or", "pe", "qua", "ris", "so", "tun",
    "u", "vel", "wa", "xi", "yor", "ze",
];
/// 2026-01-01, in seconds since 1970.
const FIRST_DATE: u64 = 1_767_225_600;
const MONTHS: [(&str, u64); 12] = [
    ("Jan", 31),
    ("Feb", 28),
    ("Mar", 31),
    ("Apr", 30),
    ("May", 31),
    ("Jun", 30),
    ("Jul", 31),
    ("Aug", 31),
    ("Sep", 30),
    ("Oct", 31),
    ("Nov", 30),
    ("Dec", 31),
];
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

/// Writes messages.
pub(super) struct Writer {
    words: Vec<String>,
}

impl Writer {
    pub(super) fn new() -> Self {
        let mut random = Random(0);
        let word = |_| (0..1 + random.below(3)).map(|_| SYLLABLES[random.below(SYLLABLES.len())]).collect();
        Self { words: (0..WORDS).map(word).collect() }
    }

    /// Message `number`, [`PAYLOAD_BYTES`] long, with CRLF. No line begins with a dot.
    pub(super) fn message(&self, number: u64) -> Vec<u8> {
        let mut random = Random(number + 1);
        let mut out = self.header(number, &mut random);
        out.push_str("\r\n");
        if number.is_multiple_of(TEXT_EVERY) {
            let _ = write!(out, "The {TEXT_WORD} of {}.\r\n", self.word(&mut random));
        }
        let bytes_max = usize::try_from(PAYLOAD_BYTES).unwrap_or(usize::MAX) - 2;
        let mut line_bytes = 0;
        while out.len() < bytes_max {
            let word = self.word(&mut random);
            if line_bytes + word.len() > LINE_BYTES_MAX {
                // Now and then a paragraph ends.
                out.push_str(if random.below(6) == 0 { ".\r\n\r\n" } else { "\r\n" });
                line_bytes = 0;
            } else if line_bytes > 0 {
                out.push(' ');
            }
            out.push_str(word);
            line_bytes += word.len() + 1;
        }
        out.truncate(bytes_max);
        let mut out = out.into_bytes();
        // What was cut may have been between CR and LF, also before a line's first character.
        if out.last() == Some(&b'\r') {
            out.pop();
            out.push(b'a');
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn header(&self, number: u64, random: &mut Random) -> String {
        let date = date(FIRST_DATE + number * 97);
        let (from, other, domain) = (self.word(random).to_owned(), self.word(random), self.word(random).to_owned());
        let mut subject = String::from(if random.below(3) == 0 { "Re: " } else { "" });
        for _ in 0..3 + random.below(5) {
            let _ = write!(subject, "{} ", self.word(random));
        }
        subject.push_str(if number.is_multiple_of(SUBJECT_EVERY) { SUBJECT_WORD } else { "today" });
        let id = random.next();
        let mut out = format!(
            "Received: from out.{domain}.example (out.{domain}.example [192.0.2.{}])\r\n\
             \tby mx.kept.example with ESMTPS id {id:016x}\r\n\
             \tfor <reader@kept.example>; {date}\r\n\
             Received: from desk.{domain}.example (desk.{domain}.example [198.51.100.{}])\r\n\
             \tby out.{domain}.example with ESMTPSA id {:016x}; {date}\r\n\
             DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d={domain}.example; s=mail;\r\n\
             \th=from:to:subject:date:message-id; bh={:016x}{:016x}{:08x}=;\r\n\
             \tb={:016x}{:016x}{:016x}{:016x}{:016x}{:016x}\r\n\
             Date: {date}\r\n\
             From: {from} {other} <{from}@{domain}.example>\r\n\
             To: Reader <reader@kept.example>\r\n\
             Subject: {subject}\r\n\
             Message-ID: <{id:016x}.{number}@{domain}.example>\r\n",
            random.below(254) + 1,
            random.below(254) + 1,
            random.next(),
            random.next(),
            random.next(),
            random.next() >> 32,
            random.next(),
            random.next(),
            random.next(),
            random.next(),
            random.next(),
            random.next(),
        );
        if random.below(3) == 0 {
            let before = random.next();
            let _ = write!(
                out,
                "In-Reply-To: <{before:016x}@kept.example>\r\nReferences: <{before:016x}@kept.example>\r\n"
            );
        }
        if random.below(4) == 0 {
            let _ =
                write!(out, "Cc: {other}@{domain}.example, \"{} {from}\" <{from}@kept.example>\r\n", self.word(random));
        }
        out.push_str(
            "User-Agent: Mail/1.0\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: 7bit\r\n",
        );
        out
    }

    /// Some words are much more frequent than others.
    fn word(&self, random: &mut Random) -> &str {
        let position = random.below(WORDS) * random.below(WORDS) / WORDS;
        self.words.get(position).map_or("a", String::as_str)
    }
}

/// RFC 5322 3.3, of a second of 2026.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400;
    let mut day = (days - FIRST_DATE / 86_400) % 365;
    let mut month = "Jan";
    for (name, length) in MONTHS {
        month = name;
        if day < length {
            break;
        }
        day -= length;
    }
    let weekday = WEEKDAYS[usize::try_from(days % 7).unwrap_or_default()];
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {} {month} 2026 {hour:02}:{minute:02}:{second:02} +0000", day + 1)
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_of_one_size_and_each_another() {
        let writer = Writer::new();
        let messages: Vec<_> = (1..1_000).map(|number| writer.message(number)).collect();
        for message in &messages {
            assert_eq!(message.len() as u64, PAYLOAD_BYTES);
            let text = std::str::from_utf8(message).unwrap();
            assert!(text.ends_with("\r\n") && !text.contains("\r\n."), "{text}");
            assert!(!text.replace("\r\n", "").contains(['\r', '\n']));
            assert!(text.split_once("\r\n\r\n").unwrap().0.contains("\r\nDate: "));
            assert!(!text.contains(ABSENT_WORD));
        }
        assert_eq!(messages.iter().filter(|text| String::from_utf8_lossy(text).contains(SUBJECT_WORD)).count(), 4);
        assert_eq!(messages.iter().filter(|text| String::from_utf8_lossy(text).contains(TEXT_WORD)).count(), 1);
        assert!(messages.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!(messages[4], writer.message(5));
    }

    #[test]
    fn dates_are_of_the_calendar() {
        assert_eq!(date(FIRST_DATE), "Thu, 1 Jan 2026 00:00:00 +0000");
        assert_eq!(date(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 +0000");
    }
}
