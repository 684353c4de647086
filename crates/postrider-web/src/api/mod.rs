//! The REST API. One folder per noun, one file per verb.
//!
//! Each handler describes itself (`utoipa::path`); here stands under which scope each is. Both together are the document at
//! `/api/openapi.json`.

mod aliases;
pub(crate) mod audit;
mod config;
mod deliveries;
mod domains;
pub(crate) mod emails;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod history;
mod ip_selection;
mod log;
mod metrics;
pub(crate) mod openapi;
mod queue;
mod smtp;
mod suppressions;
mod tokens;
mod users;
mod webhooks;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use emails::send::UnderWay;
pub(crate) use events::summary::Summaries;
pub(crate) use log::filter as log_filter;

use crate::AppState;
use crate::scope::{admin, open, read, send};

/// Every route of the API, with the document that describes them.
pub(crate) fn routes() -> Router<AppState> {
    let (router, document) = described().split_for_parts();
    router.merge(openapi::routes(openapi::finished(document)))
}

fn described() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(open(routes!(health::health)))
        .routes(read(routes!(metrics::metrics)))
        .routes(read(routes!(history::show::show)))
        .routes(read(routes!(queue::stats::stats)))
        .routes(read(routes!(queue::domains::list)))
        .routes(read(routes!(smtp::stats::stats)))
        .routes(read(routes!(ip_selection::stats::stats)))
        .routes(read(routes!(ip_selection::addresses::addresses)))
        .routes(admin(routes!(ip_selection::clear_cache::clear_cache)))
        .routes(admin(routes!(ip_selection::test::test)))
        .routes(read(routes!(emails::list::list)))
        .routes(send(routes!(emails::send::send)))
        .routes(send(routes!(emails::send::batch::send)))
        // Who resends a message to himself reads it.
        .routes(admin(routes!(emails::send::resend::resend)))
        .routes(read(routes!(emails::show::show)))
        .routes(read(routes!(emails::why::why)))
        .routes(admin(routes!(emails::delete::delete)))
        .routes(read(routes!(emails::raw::raw)))
        .routes(read(routes!(emails::attachment::attachment)))
        .routes(read(routes!(emails::timeline::timeline)))
        .routes(admin(routes!(emails::retry::retry)))
        .routes(admin(routes!(emails::order::hold)))
        .routes(admin(routes!(emails::order::release)))
        .routes(admin(routes!(emails::order::cancel)))
        .routes(admin(routes!(emails::bulk::bulk)))
        .routes(admin(routes!(queue::order::retry)))
        .routes(admin(routes!(queue::order::hold)))
        .routes(admin(routes!(queue::order::release)))
        .routes(admin(routes!(queue::order::cancel)))
        .routes(read(routes!(suppressions::list::list)))
        .routes(admin(routes!(suppressions::add::add)))
        .routes(admin(routes!(suppressions::remove::remove)))
        .routes(read(routes!(users::list::list)))
        .routes(admin(routes!(users::create::create)))
        .routes(read(routes!(users::show::show)))
        .routes(admin(routes!(users::update::update)))
        .routes(admin(routes!(users::delete::delete)))
        .routes(read(routes!(aliases::list::list)))
        .routes(admin(routes!(aliases::create::create)))
        .routes(read(routes!(aliases::show::show)))
        .routes(admin(routes!(aliases::update::update)))
        .routes(admin(routes!(aliases::delete::delete)))
        .routes(read(routes!(domains::list::list)))
        .routes(admin(routes!(domains::create::create)))
        .routes(read(routes!(domains::show::show)))
        .routes(admin(routes!(domains::update::update)))
        .routes(admin(routes!(domains::delete::delete)))
        .routes(read(routes!(domains::dns::dns)))
        .routes(read(routes!(domains::dkim::show)))
        .routes(admin(routes!(domains::dkim::rotate)))
        .routes(admin(routes!(domains::dkim::remove)))
        .routes(admin(routes!(config::show::show)))
        .routes(admin(routes!(audit::list::list)))
        .routes(admin(routes!(log::list::list)))
        .routes(admin(routes!(log::follow::follow)))
        .routes(admin(routes!(tokens::list::list)))
        .routes(admin(routes!(tokens::create::create)))
        .routes(admin(routes!(tokens::show::show)))
        .routes(admin(routes!(tokens::update::update)))
        .routes(admin(routes!(tokens::revoke::revoke)))
        .routes(read(routes!(events::follow::follow)))
        .routes(read(routes!(events::summary::follow)))
        .routes(admin(routes!(webhooks::list::list)))
        .routes(admin(routes!(webhooks::create::create)))
        .routes(admin(routes!(webhooks::url_secret::url_secret)))
        .routes(admin(routes!(webhooks::show::show)))
        .routes(admin(routes!(webhooks::update::update)))
        .routes(admin(routes!(webhooks::delete::delete)))
        .routes(admin(routes!(webhooks::rotate::rotate)))
        .routes(admin(routes!(webhooks::test::test)))
        .routes(admin(routes!(deliveries::list::list)))
        .routes(admin(routes!(deliveries::show::show)))
        .routes(admin(routes!(deliveries::replay::all)))
        .routes(admin(routes!(deliveries::replay::one)))
}
