//! When a certificate is renewed: by its own time, unless the authority has another in mind (RFC 9773).

use std::time::Duration;

use instant_acme::{CertificateIdentifier, SuggestedWindow};
use postrider_core::Timestamp;
use postrider_store::acme::{AcmeCertificate, AcmeRenewal};
use time::OffsetDateTime;

use super::certificate;

/// How long after an answer the authority is asked again that says nothing of it, or did not answer.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// What it may say of that (RFC 9773 section 4.3.3).
const ASK_AGAIN_MIN: Duration = Duration::from_secs(60);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Of a certificate's life, the part that must be left for the authority's wish to count: it shall not let it end.
const LEFT_AT_LEAST: u32 = 10;

/// A certificate younger than this, or than a tenth of its life, is not renewed because of such a wish: an authority that says the
/// same of every new one would be asked for ever more.
const AGE_MIN: Duration = Duration::from_secs(24 * 3600);

/// What there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    Nothing,
    /// Ask the authority when it wants the certificate renewed.
    Ask,
    /// Get a new one.
    Order,
}

/// What the authority calls a certificate; `None` where it does not say which of its keys signed it.
pub(super) fn identifier(kept: &AcmeCertificate) -> Option<CertificateIdentifier<'static>> {
    let (chain, _) = certificate::usable(kept).ok()?;
    CertificateIdentifier::try_from(chain.first()?).ok().map(CertificateIdentifier::into_owned)
}

/// What there is to do about a certificate, by what the authority said last.
pub(super) fn task(kept: &AcmeCertificate, known: Option<&AcmeRenewal>, now: Timestamp) -> Task {
    let Some(identifier) = identifier(kept).map(|identifier| identifier.to_string()) else {
        return if kept.renew_at <= now { Task::Order } else { Task::Nothing };
    };
    let known = known.filter(|known| known.certificate == identifier);
    let tenth = kept.not_after.since(kept.not_before) / LEFT_AT_LEAST;
    let (earliest, latest) = (kept.not_before + AGE_MIN.min(tenth), kept.not_after - tenth);
    let wished = known.and_then(|known| known.at).filter(|&at| at <= latest).map(|at| at.max(earliest));
    if wished.unwrap_or(kept.renew_at) <= now {
        Task::Order
    } else if known.is_none_or(|known| known.ask_again_at <= now) {
        Task::Ask
    } else {
        Task::Nothing
    }
}

/// What is kept of an answer. In a window that was known before, the moment stays; in another it is anywhere (`chance`: 0 to 1).
pub(super) fn renewal(
    certificate: String,
    window: Option<&SuggestedWindow>,
    ask_again_at: Option<Timestamp>,
    known: Option<&AcmeRenewal>,
    now: Timestamp,
    chance: f64,
) -> AcmeRenewal {
    let window = window.map(|window| (timestamp(window.start), timestamp(window.end)));
    let known = known.filter(|known| known.certificate == certificate && known.window == window);
    let chosen = window.map(|(start, end)| start + end.since(start).mul_f64(chance));
    let again = ask_again_at.map_or(ASK_AGAIN, |at| at.since(now).clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX));
    AcmeRenewal { certificate, window, at: known.map_or(chosen, |known| known.at), ask_again_at: now + again }
}

fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp::from_millis(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const NOW: Timestamp = Timestamp::from_millis(1_795_354_780_000);

    fn kept() -> AcmeCertificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        params.use_authority_key_identifier_extension = true;
        AcmeCertificate {
            directory_url: String::new(),
            chain: params.self_signed(&key).unwrap().pem(),
            private_key: postrider_store::dkim::PrivateKey(String::new()),
            not_before: NOW,
            not_after: NOW + DAY * 90,
            renew_at: NOW + DAY * 60,
        }
    }

    #[test]
    fn the_authority_is_asked_and_obeyed_but_not_to_the_end() {
        let kept = kept();
        let certificate = identifier(&kept).unwrap().to_string();
        let known = |at: Option<Timestamp>| AcmeRenewal {
            certificate: certificate.clone(),
            window: None,
            at,
            ask_again_at: NOW + DAY * 30,
        };
        assert_eq!(task(&kept, None, NOW), Task::Ask);
        assert_eq!(task(&kept, Some(&known(None)), NOW + DAY * 29), Task::Nothing);
        assert_eq!(task(&kept, Some(&known(None)), NOW + DAY * 30), Task::Ask);
        assert_eq!(task(&kept, Some(&known(None)), NOW + DAY * 60), Task::Order);
        assert_eq!(task(&kept, Some(&known(Some(NOW + DAY * 2))), NOW + DAY * 2), Task::Order);
        assert_eq!(task(&kept, Some(&known(Some(NOW))), NOW + DAY / 2), Task::Nothing, "too young");
        assert_eq!(task(&kept, Some(&known(Some(NOW))), NOW + DAY), Task::Order);
        assert_eq!(task(&kept, Some(&known(Some(NOW + DAY * 70))), NOW + DAY * 60), Task::Ask, "a little later");
        assert_eq!(task(&kept, Some(&known(Some(NOW + DAY * 85))), NOW + DAY * 60), Task::Order, "too late");
        let of_another = AcmeRenewal { certificate: String::new(), ..known(Some(NOW)) };
        assert_eq!(task(&kept, Some(&of_another), NOW), Task::Ask);
    }

    #[test]
    fn a_moment_in_a_window_stays() {
        let at = |timestamp: Timestamp| OffsetDateTime::from_unix_timestamp(timestamp.as_millis() / 1000).unwrap();
        let window = SuggestedWindow { start: at(NOW + DAY), end: at(NOW + DAY * 3) };
        let renewal = |known: Option<&AcmeRenewal>, chance| {
            super::renewal("a".to_owned(), Some(&window), Some(NOW + DAY * 9), known, NOW, chance)
        };
        let first = renewal(None, 0.5);
        assert_eq!((first.at, first.ask_again_at), (Some(NOW + DAY * 2), NOW + DAY));
        assert_eq!(renewal(Some(&first), 0.9).at, first.at);
        let other = AcmeRenewal { window: None, ..first };
        assert_eq!(renewal(Some(&other), 1.0).at, Some(NOW + DAY * 3));
        assert_eq!(super::renewal("a".to_owned(), None, None, None, NOW, 0.0).ask_again_at, NOW + ASK_AGAIN);
    }
}
