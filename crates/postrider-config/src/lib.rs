//! Every setting of Postrider, once: name, default, doc, check. Nothing else reads the environment.

mod settings;

pub use settings::*;
