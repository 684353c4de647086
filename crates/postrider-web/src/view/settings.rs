//! The JSON shape of the settings.

use serde::Serialize;

/// The effective settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SettingsView {
    /// In the order of the documentation.
    pub settings: Vec<SettingView>,
    /// What was set but has no effect, and what is allowed but doubtful.
    pub warnings: Vec<String>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SettingView {
    pub name: String,
    /// `***` in place of a secret; empty where nothing is set.
    pub value: String,
    /// Where the value came from.
    pub origin: String,
    /// What it means.
    pub doc: String,
}
