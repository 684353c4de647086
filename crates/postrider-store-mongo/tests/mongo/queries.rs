//! Whether every query has its index, as the server sees it, and whether every index has its reason.

use std::collections::BTreeMap;

use mongodb::bson::{Bson, Document, doc};
use postrider_core::history::{AddressTraffic, Step, Traffic};
use postrider_core::query::Query;
use postrider_core::{Domain, EmailStatus};

use super::*;

/// Collections of which a pass over all is right: one has a document for each node, of the others all are asked for.
const SMALL: &[&str] = &["nodes", "users", "localDomains", "aliases"];

#[tokio::test]
async fn no_query_scans_a_collection() {
    let mongo = Mongo::default();
    let (store, seen) = mongo.observed().await;
    let mut heard = store.changes();
    heard.recv().await.unwrap();
    everything(&store).await;
    let commands = std::mem::take(&mut *seen.lock().unwrap());
    let database = Client::with_uri_str(mongo.url().await).await.unwrap().default_database().unwrap();
    let mut explained = BTreeMap::new();
    for command in commands.iter().flat_map(queries) {
        let collection = command.get_str("find").or(command.get_str("aggregate")).or(command.get_str("distinct"));
        let collection = collection.unwrap().to_owned();
        let shape = format!("{collection} {}", shape(&command));
        if SMALL.contains(&collection.as_str()) || explained.contains_key(&shape) {
            continue;
        }
        let explain = doc! { "explain": command, "verbosity": "queryPlanner" };
        let plan = database.run_command(explain).await.unwrap().to_string();
        assert!(!plan.contains("COLLSCAN"), "{shape}\n{plan}");
        explained.insert(shape, plan);
    }
    let used = |name: &str| explained.values().any(|plan| plan.contains(&format!("\"indexName\": \"{name}\"")));
    for name in [
        "claimable",
        "due",
        "lines",
        "ranked",
        "tags",
        "unnumbered",
        "number",
        "owned",
        "resting",
        "status",
        "search",
        "name",
        "changed",
        "deleted",
        "spans",
        "hours",
        "words",
    ] {
        assert!(used(name), "nothing uses the index {name}: {:#?}", explained.keys());
    }
}

/// Calls whatever the store can do.
async fn everything(store: &MongoStore) {
    let node = register(store).await;
    for n in 0..30 {
        let mut new = small(&[&format!("a@d{}.example", n % 7), "b@two.example"]);
        new.deliveries[1].claimed_by = (n % 2 == 0).then_some(node);
        store.accept(new).await.unwrap();
    }
    let claimed = ids(&store.claim(request(node, 12)).await.unwrap());
    let retry = Next::Retry { at: NOW + Duration::from_secs(60) };
    for (&id, next) in claimed.iter().zip([Next::Sent, Next::Failed, retry].into_iter().cycle()).take(9) {
        assert_eq!(store.settle(node, settled(id, next)).await.unwrap(), 1);
    }
    store.release(node, claimed[9..].to_vec()).await.unwrap();
    let emails = vec![claimed[0].email, claimed[1].email];
    for selection in [
        Selection::default(),
        Selection { emails, ..Selection::default() },
        Selection { recipient_domain: Some(Domain::parse("two.example").unwrap()), ..Selection::default() },
    ] {
        for order in [Order::Hold, Order::Release, Order::Cancel, Order::Retry] {
            store.order(selection.clone(), order, NOW).await.unwrap();
        }
    }
    store.claim(request(node, 5)).await.unwrap();
    much_that_is_urgent(store).await;
    store.claim(request(node, 5)).await.unwrap();
    lists(store).await;
    store.queue_stats(NOW).await.unwrap();
    store.queue_domains(&QueueDomainFilter::default(), 1, 10).await.unwrap();
    store.email(claimed[0].email).await.unwrap().unwrap();
    store.raw(claimed[0].email).await.unwrap().unwrap();
    store.delete(claimed[0].email).await.unwrap();
    let exported = store.export(None, 5).await.unwrap();
    store.export(Some(exported[0].id), 5).await.unwrap();
    store.import(exported).await.unwrap();
    outbox(store).await;
    mailboxes::everything(store).await;
    history(store).await;
    store.sweep().await.unwrap();
    store.health().await.unwrap();
    store.leave(node).await.unwrap();
}

async fn outbox(store: &MongoStore) {
    let endpoint = ObjectId::new(NOW);
    for kind in [EventKind::Accepted, EventKind::Received] {
        let calls = vec![NewCall { id: ObjectId::new(NOW), endpoint, url: None }];
        let event = NewEvent { id: ObjectId::new(NOW), kind, at: NOW, calls, data: "{}".to_owned() };
        store.accept(NewEmail { events: vec![event], ..small(&["a@one.example"]) }).await.unwrap();
    }
    let start = store.events(None, 1).await.unwrap();
    store.events(Some(&start.cursor), 10).await.unwrap();
    let ask = CallClaimRequest { now: NOW, lock: LEASE, endpoints: vec![(endpoint, 1)] };
    let claimed = store.claim_calls(ask).await.unwrap();
    let attempt = CallAttempt { at: NOW, duration_ms: 1, url: None, status: Some(200), error: None, body: None };
    let settlement = CallSettlement { id: claimed[0].id, attempt, next: CallNext::Delivered };
    store.settle_calls(vec![settlement]).await.unwrap();
    for filter in [
        CallFilter::default(),
        CallFilter { endpoint: Some(endpoint), ..CallFilter::default() },
        CallFilter { state: Some(CallState::GivenUp), ..CallFilter::default() },
        CallFilter { email: Some(claimed[0].email), ..CallFilter::default() },
        CallFilter { ids: vec![claimed[0].id], ..CallFilter::default() },
        CallFilter { from: Some(NOW), ..CallFilter::default() },
    ] {
        store.calls(&filter, 1, 10).await.unwrap();
        if filter != CallFilter::default() {
            store.replay_calls(&filter, NOW).await.unwrap();
        }
    }
    store.export_calls(Some(endpoint), 10).await.unwrap();
    let sweep = OutboxSweep { events_before: NOW, delivered_before: NOW, given_up_before: NOW, count: 10 };
    store.sweep_outbox(sweep).await.unwrap();
    store.drop_calls(endpoint).await.unwrap();
}

async fn history(store: &MongoStore) {
    let part = ObjectId::new(NOW);
    let traffic = TrafficPart { step: Step::Minute, at: NOW, part, traffic: Traffic::default() };
    let address = AddressPart { at: NOW, ip: [192, 0, 2, 1].into(), part, traffic: AddressTraffic::default() };
    store.put_history(vec![traffic], vec![address]).await.unwrap();
    store.history(Step::Minute, NOW, NOW + LEASE).await.unwrap();
    store.address_history(NOW, NOW + LEASE).await.unwrap();
    store.sweep_history(NOW + LEASE, 10).await.unwrap();
}

/// More than a claim looks at one by one.
async fn much_that_is_urgent(store: &MongoStore) {
    let many: Vec<String> = (0..2_100).map(|n| format!("r{n}@d{}.example", n % 3)).collect();
    let mut new = small(&many.iter().map(String::as_str).collect::<Vec<_>>());
    new.instructions.priority = "high".parse().unwrap();
    new.instructions.add_tag("news").unwrap();
    store.accept(new).await.unwrap();
    let tagged = Selection { tag: Some("news".into()), ..Selection::default() };
    store.order(tagged, Order::Retry, NOW).await.unwrap();
}

async fn lists(store: &MongoStore) {
    let text = || Some("small".to_owned());
    let terms = |query: &str| Query::parse(query).unwrap().at(NOW);
    let mut filters = vec![
        EmailFilter::default(),
        EmailFilter { terms: terms("small subject:small"), ..EmailFilter::default() },
        EmailFilter { sender: text(), recipient: text(), ..EmailFilter::default() },
        EmailFilter { domain: Some(Domain::parse("two.example").unwrap()), ..EmailFilter::default() },
        EmailFilter { direction: Some(Direction::Outbound), ..EmailFilter::default() },
        EmailFilter { tag: Some("news".into()), ..EmailFilter::default() },
        EmailFilter { from: Some(NOW), to: Some(NOW + LEASE), ..EmailFilter::default() },
        EmailFilter { terms: terms("status:sending,failed error:x"), ..EmailFilter::default() },
        EmailFilter { terms: terms("messageid:a@b larger:1 smaller:2 has:attachment"), ..EmailFilter::default() },
        EmailFilter { terms: terms("-small -domain:two.example -status:sent"), ..EmailFilter::default() },
        EmailFilter { terms: terms("sourceip:192.0.2.1 id:65a1b2c3d4e5f60718293a4b"), ..EmailFilter::default() },
    ];
    for &status in EmailStatus::ALL {
        filters.push(EmailFilter { status: Some(status), ..EmailFilter::default() });
        filters.push(EmailFilter { status: Some(status), terms: terms("small"), ..EmailFilter::default() });
    }
    for filter in filters {
        store.list(&filter, 1, 10).await.unwrap();
    }
}

/// What a command looks for, as commands that can be explained: what it writes does not matter.
fn queries(command: &Document) -> Vec<Document> {
    let name = command.keys().next().unwrap().as_str();
    let find = |collection: &str, filter: &Bson| doc! { "find": collection, "filter": filter.clone() };
    let statements = |name: &str| command.get_array(name).cloned().unwrap_or_default();
    let query = |statement: Bson| statement.as_document().and_then(|statement| statement.get("q").cloned()).unwrap();
    match name {
        "find" | "aggregate" | "distinct" => {
            let fields = ["find", "filter", "sort", "limit", "projection", "aggregate", "pipeline", "cursor"];
            // The command's name comes first.
            let kept = fields.iter().chain(&["distinct", "key", "query", "hint"]);
            let mut kept: Document =
                kept.filter_map(|&field| Some((field.to_owned(), command.get(field)?.clone()))).collect();
            if let Ok(pipeline) = kept.get_array("pipeline")
                && pipeline
                    .iter()
                    .any(|stage| stage.as_document().is_some_and(|stage| stage.contains_key("$changeStream")))
            {
                return Vec::new();
            }
            // A distinct is planned as the query in it.
            if let Ok(collection) = kept.get_str("distinct").map(str::to_owned) {
                kept = find(&collection, command.get("query").unwrap());
            }
            vec![kept]
        }
        "update" => {
            let collection = command.get_str("update").unwrap();
            statements("updates").into_iter().map(|statement| find(collection, &query(statement))).collect()
        }
        "delete" => {
            let collection = command.get_str("delete").unwrap();
            statements("deletes").into_iter().map(|statement| find(collection, &query(statement))).collect()
        }
        _ => Vec::new(),
    }
}

/// A query without its values: those of one shape have one plan.
fn shape(command: &Document) -> String {
    fn of(value: &Bson) -> String {
        match value {
            Bson::Document(document) => {
                let fields: Vec<String> =
                    document.iter().map(|(name, value)| format!("{name}: {}", of(value))).collect();
                format!("{{{}}}", fields.join(", "))
            }
            Bson::Array(values) => values.first().map(|value| format!("[{}]", of(value))).unwrap_or_default(),
            Bson::String(_) => "\"\"".into(),
            _ => "_".into(),
        }
    }
    let wanted = ["filter", "sort", "hint", "pipeline"];
    wanted.iter().filter_map(|&field| Some(format!("{field} {}", of(command.get(field)?)))).collect()
}

#[tokio::test]
async fn every_index_has_its_reason() {
    let mongo = Mongo::default();
    mongo.store().await;
    let told = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mongodb.md")).unwrap();
    let database = Client::with_uri_str(mongo.url().await).await.unwrap().default_database().unwrap();
    let mut collections = database.list_collection_names().await.unwrap();
    collections.retain(|name| !name.starts_with("fs."));
    collections.sort();
    assert_eq!(
        collections,
        [
            "accounts",
            "addressHistory",
            "addresses",
            "aliases",
            "attempts",
            "audit",
            "calls",
            "counters",
            "deliveries",
            "digests",
            "domains",
            "emails",
            "entries",
            "events",
            "expunged",
            "history",
            "localDomains",
            "mailboxes",
            "meta",
            "metadata",
            "nodes",
            "notes",
            "notices",
            "removals",
            "requests",
            "subscriptions",
            "suppressions",
            "unindexed",
            "users",
            "words",
        ]
    );
    for collection in collections {
        assert!(told.contains(&format!("### `{collection}`")), "docs/mongodb.md says nothing of {collection}");
        for index in database.collection::<Document>(&collection).list_index_names().await.unwrap() {
            let row = format!("| `{collection}` | `{index}` |");
            assert!(index == "_id_" || told.contains(&row), "docs/mongodb.md has no row {row}");
        }
    }
}
