//! The way to the server, and whether it is one that the engine can work with.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::command::CommandEvent;
use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria, WriteConcern};
use mongodb::{Client, Database};
use postrider_store::StoreError;

use crate::counters::number;
use crate::failure::{NOT_A_REPLICA_SET, store_error, timed_out};
use crate::options::MongoOptions;

/// The database of a URL that names none.
const DATABASE: &str = "postrider";

/// Connections at once, unless the URL says otherwise (maxPoolSize).
const CONNECTIONS_MAX: u32 = 32;

/// What MongoDB 7.0 calls itself to drivers.
const WIRE_VERSION_MIN: i64 = 21;

/// Connects, and asks the server whether it has what is needed.
pub(crate) async fn connect(options: &MongoOptions) -> Result<(Client, Database), StoreError> {
    let mut client_options = ClientOptions::parse(&options.url)
        .await
        .map_err(|error| StoreError::Unavailable(format!("MONGODB_URL cannot be used: {}", error.kind)))?;
    let timeout = options.answer_timeout;
    client_options.app_name.get_or_insert_with(|| "postrider".into());
    client_options.server_selection_timeout.get_or_insert(timeout);
    client_options.connect_timeout.get_or_insert(timeout);
    client_options.max_pool_size.get_or_insert(CONNECTIONS_MAX);
    // What is promised does not hang on what a URL says.
    client_options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).journal(true).build());
    client_options.read_concern = Some(ReadConcern::majority());
    client_options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    client_options.retry_writes = Some(true);
    if let Some(observer) = options.command_observer.clone() {
        client_options.command_event_handler = Some(EventHandler::callback(move |event| {
            if let CommandEvent::Started(event) = event {
                observer(&event.command);
            }
        }));
    }
    let name = client_options.default_database.clone().unwrap_or_else(|| DATABASE.into());
    let hosts: Vec<String> = client_options.hosts.iter().map(ToString::to_string).collect();
    let client = Client::with_options(client_options).map_err(|error| store_error(&error))?;
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 });
    let asked = tokio::time::timeout(timeout + Duration::from_secs(1), hello.into_future()).await;
    let hello = asked.map_err(|_| timed_out())?.map_err(|error| match store_error(&error) {
        StoreError::Unavailable(text) => {
            StoreError::Unavailable(format!("MongoDB at {} cannot be reached: {text}", hosts.join(", ")))
        }
        error => error,
    })?;
    check(&hello)?;
    let database = client.database(&name);
    tracing::info!(store.hosts = %hosts.join(","), store.database = name, "the store is on MongoDB");
    Ok((client, database))
}

fn check(hello: &Document) -> Result<(), StoreError> {
    if hello.get_str("msg").is_ok_and(|text| text == "isdbgrid") {
        // Each router goes by its own clock, and leases need one.
        return Err(StoreError::Unavailable(
            "MONGODB_URL names a router (mongos) of a sharded cluster; name the members of one replica set".into(),
        ));
    }
    if hello.get_str("setName").is_err() {
        return Err(StoreError::Unavailable(NOT_A_REPLICA_SET.into()));
    }
    if number(hello, "maxWireVersion") < WIRE_VERSION_MIN {
        return Err(StoreError::Unavailable("the MongoDB server is older than 7.0; use 7.0 or later".into()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_must_replicate_and_be_new_enough() {
        assert!(check(&doc! { "setName": "rs0", "maxWireVersion": 21 }).is_ok());
        let error = |hello| check(&hello).unwrap_err().to_string();
        assert!(error(doc! { "msg": "isdbgrid", "maxWireVersion": 25 }).contains("mongos"));
        assert!(error(doc! { "maxWireVersion": 25 }).contains("rs.initiate()"));
        assert!(error(doc! { "setName": "rs0", "maxWireVersion": 17 }).contains("7.0 or later"));
    }
}
