//! A report on its way: where to (RFC 8460 section 3), and as what (section 5).

use std::fmt;
use std::io::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use percent_encoding::percent_decode_str;
use postrider_core::{Address, Domain, ObjectId, Recipient};
use url::Url;

use super::Reporter;
use super::record::{DAY_MILLIS, DayOfDomain};
use crate::clock::timeout;
use crate::deliver::report::{Addressing, OwnMail, own_mail};

/// Destinations of one domain that are told; RFC 8460 names no limit.
const DESTINATIONS_MAX: usize = 5;

const POST_PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 4096;

/// In base64, which breaks lines at 76.
const LINE_BYTES: usize = 57;

/// Where a domain wants its reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    Mail(Address),
    Https(Url),
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(address) => write!(f, "mailto:{address}"),
            Self::Https(url) => url.fmt(f),
        }
    }
}

/// Reads the TXT records of `_smtp._tls`; none counts where there are several (RFC 8460 section 3).
pub(super) fn destinations(records: &[String]) -> Vec<Destination> {
    let mut ours = records.iter().filter(|record| record.split(';').next().is_some_and(|v| v.trim() == "v=TLSRPTv1"));
    let (Some(record), None) = (ours.next(), ours.next()) else { return Vec::new() };
    let uris = record.split(';').find_map(|field| field.trim().strip_prefix("rua=")).unwrap_or_default();
    let destination = |uri: &str| {
        if let Some(address) = uri.strip_prefix("mailto:") {
            let address = percent_decode_str(address.split('?').next()?).decode_utf8().ok()?;
            return Address::parse(&address).ok().map(Destination::Mail);
        }
        Url::parse(uri).ok().filter(|url| url.scheme() == "https").map(Destination::Https)
    };
    uris.split(',').filter_map(|uri| destination(uri.trim())).take(DESTINATIONS_MAX).collect()
}

impl Reporter {
    /// The error says why it was not sent.
    pub(super) async fn send_to(
        &self,
        whole: &DayOfDomain,
        day: i64,
        domain: &Domain,
        destination: &Destination,
    ) -> Result<(), String> {
        let from = self.from.as_ref().ok_or("MAIL_HOSTNAME makes no address: set TLS_REPORT_FROM")?;
        let id = ObjectId::new(self.context.clock.now());
        let report_id = format!("{id}@{}", self.context.hostname);
        let report = whole.report(domain, day, &report_id, &self.context.hostname, from.as_str());
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(report.to_string().as_bytes()).map_err(|error| error.to_string())?;
        let report = encoder.finish().map_err(|error| error.to_string())?;
        match destination {
            Destination::Mail(address) => self.mail((from, address), domain, (day, id, &report_id), &report).await,
            Destination::Https(url) => self.post(url, report).await,
        }
    }

    /// RFC 8460 section 5.4: any answer of class 2 is a success.
    async fn post(&self, url: &Url, report: Vec<u8>) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/tlsrpt+gzip"));
        let posting = self.http.post(url, headers, Bytes::from(report), ANSWER_BYTES_MAX);
        let answer = timeout(self.context.clock.as_ref(), POST_PATIENCE, posting).await;
        let answer = answer.map_err(|_| "there is no answer".to_owned())?.map_err(|error| error.to_string())?;
        if answer.status.is_success() { Ok(()) } else { Err(format!("the answer was {}", answer.status)) }
    }

    async fn mail(
        &self,
        (from, to): (&Address, &Address),
        domain: &Domain,
        (day, id, report_id): (i64, ObjectId, &str),
        report: &[u8],
    ) -> Result<(), String> {
        let now = self.context.clock.now();
        let home = self.context.recipients.home(to).await.map_err(|error| error.to_string())?;
        let signer = self.context.signers.of_domain(&from.domain()).await.map_err(|error| error.to_string())?;
        let addressing = Addressing { hostname: &self.context.hostname, home: &home, signer: signer.as_deref() };
        let begin = day * DAY_MILLIS / 1000;
        let file = format!("{}!{domain}!{begin}!{}!{id}.json.gz", self.context.hostname, begin + 86_399);
        let mut text = format!(
            "From: <{}>\r\nTo: <{to}>\r\nDate: {}\r\nMessage-ID: <{report_id}>\r\n\
             Subject: Report Domain: {domain}\r\n Submitter: {}\r\n Report-ID: <{report_id}>\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {}\r\nTLS-Required: No\r\nAuto-Submitted: auto-generated\r\n\
             MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{id}\"\r\n\r\n\
             --{id}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is a report of {} about the TLS of mail to {domain} (RFC 8460).\r\n\
             --{id}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"{file}\"\r\n\r\n",
            from,
            now.to_rfc5322(),
            self.context.hostname,
            self.context.hostname,
            self.context.hostname,
        );
        for line in report.chunks(LINE_BYTES) {
            text.push_str(&BASE64.encode(line));
            text.push_str("\r\n");
        }
        text.push_str(&format!("--{id}--\r\n"));
        let smtputf8 = to.needs_smtputf8();
        let mail = OwnMail { text: text.into_bytes(), id, now, smtputf8, require_tls: false, waives_tls: true };
        let email = own_mail(mail, Recipient::new(to.clone()), &addressing);
        self.context.store.accept(email).await.map_err(|error| error.to_string())?;
        self.context.queue.kick();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_of_records() {
        let of = |records: &[&str]| {
            let records: Vec<String> = records.iter().map(|&record| record.to_owned()).collect();
            destinations(&records).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let both = "v=TLSRPTv1; rua=mailto:tls%2Brpt@example.org?x=y , https://example.org/v1;";
        assert_eq!(of(&[both]), ["mailto:tls+rpt@example.org", "https://example.org/v1"]);
        assert_eq!(of(&["v=spf1 -all", "v=TLSRPTv1;rua=mailto:a@b.test"]), ["mailto:a@b.test"]);
        for records in [
            &["v=TLSRPTv1; rua=mailto:a@b.test", "v=TLSRPTv1; rua=mailto:a@b.test"][..],
            &["v=TLSRPTv2; rua=mailto:a@b.test"],
            &["v=TLSRPTv1; rua=http://example.org/"],
            &["v=TLSRPTv1;"],
            &[],
        ] {
            assert_eq!(of(records), [""; 0], "{records:?}");
        }
        let many = format!("v=TLSRPTv1; rua={}", ["mailto:a@b.test"; 9].join(","));
        assert_eq!(of(&[&many]).len(), DESTINATIONS_MAX);
    }
}
