//! The table: mail that comes back, and addresses that nothing is sent to.

use super::{Kind, Setting};

pub(super) const BOUNCES: &[Setting] = &[
Setting::new(
    "SUPPRESSION_ENABLED",
    "true",
    Kind::Switch(|settings, on| settings.suppression_enabled = on),
    "Whether an address that does not exist (a hard bounce) is put on the suppression list, and a delivery to a listed one fails \
     at once. What the simulator of `DELIVERY_MODE=capture` refuses is never listed. `false`: the list is kept and has no effect.",
)
.dev("false"),
    Setting::new(
        "BOUNCE_DOMAIN",
        "",
        Kind::Text {
            allowed: "a domain",
            set: |settings, text| {
                settings.bounce_domain = match text {
                    "" => None,
                    text => Some(text.parse().map_err(|_| None)?),
                };
                Ok(())
            },
        },
        "Mail leaves with return paths of its own at this domain, `bounce+ID-MAC@DOMAIN`, so that what comes back is known for certain: \
         it is kept here and noted on the e-mail, and does not go to the sender. Its MX is this server, and SPF is looked up there. \
         Unset: mail leaves with its sender's address, and reports that come to a local one are known by what they show of the e-mail.",
    ),
];
