//! `GET /settings`: the settings as they are, with where each came from. Secrets are masked before they come here.

use askama::Template;
use axum::extract::State;
use axum::http::Uri;

use crate::AppState;
use crate::extract::Parameters;
use crate::pages::address::Address;
use crate::pages::format::Counted;
use crate::pages::frame::{Frame, Page, Visit};
use crate::problem::Problem;
use crate::view::{SettingView, SettingsView};

const PLACE: &str = "/settings";

/// How the origin of a value ends that nobody set.
const DEFAULT_ORIGIN: &str = "default";

#[derive(Template)]
#[template(path = "administration/settings.html")]
pub(in crate::pages) struct SettingsPage {
    frame: Frame,
    q: String,
    is_set_only: bool,
    all: Address,
    set_only: Address,
    rows: Vec<Row>,
    counted: Counted,
    warnings: Vec<String>,
}

struct Row {
    setting: SettingView,
    /// What it means: pieces, of which every other is code.
    doc: Vec<String>,
}

impl Row {
    fn new(setting: SettingView) -> Self {
        Self { doc: setting.doc.split('`').map(str::to_owned).collect(), setting }
    }

    fn is_default(&self) -> bool {
        is_default(&self.setting)
    }
}

fn is_default(setting: &SettingView) -> bool {
    setting.origin.ends_with(DEFAULT_ORIGIN)
}

pub(in crate::pages) async fn show(
    State(state): State<AppState>,
    visit: Visit,
    uri: Uri,
) -> Result<Page<SettingsPage>, Problem> {
    let here = Address::of(&uri);
    let mut parameters = Parameters::of(&uri)?;
    let q = parameters.text("q").unwrap_or_default();
    let set = parameters.read("set", |value| match value {
        "only" => Ok(()),
        _ => Err("it is only, or not there".to_owned()),
    })?;
    parameters.finish(&["q", "set"])?;
    let SettingsView { mut settings, warnings } = state.administration.settings();
    let part = q.to_lowercase();
    let has_part = |text: &str| text.to_lowercase().contains(&part);
    settings.retain(|setting| has_part(&setting.name) || has_part(&setting.doc));
    if set.is_some() {
        settings.retain(|setting| !is_default(setting));
    }
    Ok(Page(SettingsPage {
        frame: visit.frame("Settings", PLACE),
        q,
        is_set_only: set.is_some(),
        all: here.without(&["set"]),
        set_only: here.with("set", "only"),
        counted: Counted(settings.len() as u64, "setting", "settings"),
        rows: settings.into_iter().map(Row::new).collect(),
        warnings,
    }))
}
