//! The table: mail that comes back, and addresses that nothing is sent to.

use super::{Kind, Setting};

pub(super) const BOUNCES: &[Setting] = &[Setting::new(
    "SUPPRESSION_ENABLED",
    "true",
    Kind::Switch(|settings, on| settings.suppression_enabled = on),
    "Whether an address that does not exist (a hard bounce) is put on the suppression list, and a delivery to a listed one fails \
     at once. What the simulator of `DELIVERY_MODE=capture` refuses is never listed. `false`: the list is kept and has no effect.",
)
.dev("false")];
