//! The table: how others know that mail is from whom it says, and how that is known here.

use super::{Kind, Setting};
use crate::settings::{ClientCheck, DkimAlgorithm, SenderCheck};
use crate::value;

pub(super) const AUTHENTICATION: &[Setting] = &[
    Setting::new(
        "DKIM_ALGORITHMS",
        "ed25519,rsa",
        Kind::Text {
            allowed: "ed25519, rsa, or both with a comma between; empty for none",
            set: |settings, text| {
                settings.dkim_algorithms = value::list(text, |word| match word.to_ascii_lowercase().as_str() {
                    "ed25519" => Some(DkimAlgorithm::Ed25519),
                    "rsa" => Some(DkimAlgorithm::Rsa),
                    _ => None,
                })?;
                Ok(())
            },
        },
        "How mail for other hosts is signed (DKIM) where its author's domain, or one above it, has keys here: each algorithm \
     adds a signature. `postrider domain dkim DOMAIN` shows the keys. Not every receiver knows `ed25519`; signing with \
     `rsa` takes about a millisecond of processor time a message.",
    ),
    Setting::new(
        "VERIFY_INCOMING",
        "true",
        Kind::Switch(|settings, on| settings.verify_incoming = on),
        "Verify mail from the world on the MX port (SPF, DKIM, ARC, DMARC), and say in its field `Authentication-Results` what was \
     found. Hosts of `TRUSTED_NETWORKS` are not verified.",
    ),
    Setting::new(
        "DMARC_REJECT",
        "false",
        Kind::Switch(|settings, on| settings.dmarc_reject = on),
        "Refuse mail that fails DMARC where its author's domain says `p=reject`. Some mailing lists fail it with honest mail.",
    ),
    Setting::new(
        "DMARC_QUARANTINE",
        "true",
        Kind::Switch(|settings, on| settings.dmarc_quarantine = on),
        "Put mail that fails DMARC into the mailbox for junk of each user, instead of INBOX, where its author's domain says \
         `p=quarantine`; or `p=reject`, and it is not refused because of `DMARC_REJECT`. A user who has no such mailbox gets one.",
    ),
    Setting::new(
        "CHECK_REVERSE_DNS",
        "record",
        Kind::Choice(&[
            ("off", |settings| settings.check_reverse_dns = ClientCheck::Off),
            ("record", |settings| settings.check_reverse_dns = ClientCheck::Record),
            ("reject", |settings| settings.check_reverse_dns = ClientCheck::Reject),
        ]),
        "Whether a host that brings mail from the world has a name in reverse DNS that knows its address: `record` says so in \
         `Authentication-Results` (`iprev`), `reject` also refuses mail of one that has none (for now where DNS fails). \
         `postmaster` can be written to all the same, and hosts of `TRUSTED_NETWORKS` are not checked.",
    ),
    Setting::new(
        "CHECK_EHLO",
        "off",
        Kind::Choice(&[
            ("off", |settings| settings.check_ehlo = ClientCheck::Off),
            ("record", |settings| settings.check_ehlo = ClientCheck::Record),
            ("reject", |settings| settings.check_ehlo = ClientCheck::Reject),
        ]),
        "Whether such a host says in EHLO who it is: the full name of a host or mail domain that exists in DNS and is not this \
         one, or its own address in brackets. As `CHECK_REVERSE_DNS`, but recorded with the e-mail alone. RFC 5321 section 4.1.4 \
         has nobody refused because of the name's address, which is not compared.",
    ),
    Setting::new(
        "SENDER_CHECK",
        "off",
        Kind::Choice(&[
            ("off", |settings| settings.sender_check = SenderCheck::Off),
            ("domain", |settings| settings.sender_check = SenderCheck::Domain),
            ("address", |settings| settings.sender_check = SenderCheck::Address),
        ]),
        "As whom logged-in users may send, in MAIL and in the message's From, Sender, Resent-From and Resent-Sender: `address` as those whose mail they get (their own \
         address, also with a `+`, aliases that lead to them, catch-alls), `domain` as anybody at a domain where they have such \
         an address, `off` as anybody. Mail is signed (DKIM) for every domain that has keys here: where users of several share \
         a server, `off` lets each speak for all.",
    ),
];
