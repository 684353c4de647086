//! Who may send when: workers, turns, shares.

use postrider_core::{Address, Envelope, Instructions, Recipient};
use postrider_store::{ClaimedDelivery, ClaimedEmail};

use super::*;
use crate::deliver::route::TlsMode;
use crate::policy::shaping::Profile;
use crate::policy::source::Source;

const NODE: NodeId = NodeId::from_bytes([1; 12]);
const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const OTHER_NODE: NodeId = NodeId::from_bytes([2; 12]);

fn lanes(active_max: usize, per_lane_max: usize, held_max: usize, held_per_domain_max: usize) -> Lanes {
    Lanes::new(LaneLimits { active_max, per_lane_max, held_max, held_per_domain_max }, NODE, Membership::ALONE)
}

fn route(key: &str) -> Arc<Route> {
    Arc::new(Route {
        key: key.into(),
        hosts: Vec::new(),
        port: 25,
        tls: TlsMode::Never,
        requires_tls: false,
        credentials: None,
        profile: Profile::default(),
    })
}

/// Of a worker that was started where nobody was connected.
fn turn(key: &str) -> Turn {
    Turn { node: NODE, key: key.into(), since: NOW, messages: 0, is_trying: true, is_opening: false }
}

/// The worker has a connection. The turn of the one that is to be started for that.
fn connects(lanes: &mut Lanes, turn: &mut Turn) -> Option<Turn> {
    let start = lanes.note_connected(turn, &SourceKey::default()).expect("there is a place");
    start.map(|start| Turn { is_trying: start.is_trying, ..self::turn(&start.route.key) })
}

/// All workers connect, and those that are started for it.
fn all_connect(lanes: &mut Lanes, mut turns: Vec<Turn>) -> Vec<Turn> {
    let mut next = 0;
    while next < turns.len() {
        let more = connects(lanes, &mut turns[next]);
        turns.extend(more);
        next += 1;
    }
    turns
}

fn job() -> Job {
    urgent_job(0)
}

fn urgent_job(priority: i8) -> Job {
    let recipient = Recipient::new(Address::parse("a@a.example").unwrap());
    let delivery = ClaimedDelivery {
        number: 0,
        recipient,
        queued_at: Timestamp::default(),
        attempts: 0,
        last_category: None,
        delay_notified: false,
    };
    let email = ClaimedEmail {
        id: NodeId::default(),
        created_at: Timestamp::default(),
        envelope: Envelope::default(),
        instructions: Instructions { priority: Priority::new(priority).unwrap(), ..Instructions::default() },
        message_id: None,
        subject: None,
        size: 0,
        is_8bit: false,
        deliveries: vec![delivery],
    };
    Job { email: Arc::new(email), deliveries: vec![0], raw: None, source: Source::default(), node: NODE }
}

fn domain(count: usize) -> Vec<(Domain, usize)> {
    vec![(Domain::parse("a.example").unwrap(), count)]
}

fn ended(next: NextJob) -> Option<Arc<str>> {
    match next {
        NextJob::End { other, .. } => other.map(|start| start.route.key.clone()),
        NextJob::Send { .. } => panic!("there was a job"),
    }
}

/// Lines up a job; whether a worker is to be started for it.
fn starts(lanes: &mut Lanes, key: &str) -> bool {
    matches!(lanes.push(route(key), job(), NOW), Pushed::Start(_))
}

fn takes_a_job(lanes: &mut Lanes, turn: &mut Turn) -> bool {
    matches!(lanes.next(turn, None, NOW), NextJob::Send { .. })
}

#[test]
fn a_destination_gets_more_workers_as_it_takes_connections_and_never_more_than_its_limit() {
    let mut lanes = lanes(10, 4, 100, 100);
    let started = (0..9).filter(|_| starts(&mut lanes, "a")).count();
    assert_eq!((started, lanes.trying), (WORKERS_UNTRIED, WORKERS_UNTRIED));
    let mut turns = all_connect(&mut lanes, vec![turn("a"), turn("a")]);
    assert_eq!((turns.len(), lanes.active, lanes.trying), (4, 4, 0));
    for _ in 0..9 {
        assert!(takes_a_job(&mut lanes, &mut turns[0]));
    }
    assert_eq!(ended(lanes.next(&mut turns[0], None, NOW)), None);
    assert_eq!(lanes.workers(), 3);
}

#[test]
fn the_urgent_come_first_and_of_these_who_came_first() {
    let mut lanes = lanes(10, 1, 100, 100);
    let priorities = [0, 4, -9, 0, 9, 4];
    let mut ids = Vec::new();
    for (n, priority) in (1u8..).zip(priorities) {
        let mut job = urgent_job(priority);
        Arc::get_mut(&mut job.email).unwrap().id = NodeId::from_bytes([n; 12]);
        ids.push(job.email.id);
        lanes.push(route("a"), job, NOW);
    }
    let mut turn = turn("a");
    let mut take = |lanes: &mut Lanes| match lanes.next(&mut turn, None, NOW) {
        NextJob::Send { job, .. } => job,
        NextJob::End { .. } => panic!("there was a job"),
    };
    let first = take(&mut lanes);
    assert_eq!(first.email.id, ids[4]);
    // What could not be sent now goes back before all that is no more urgent.
    lanes.lanes.get_mut("a").unwrap().line_up_first(first);
    let taken: Vec<NodeId> = (0..6).map(|_| take(&mut lanes).email.id).collect();
    assert_eq!(taken, [4, 1, 5, 0, 3, 2].map(|n: usize| ids[n]));
}

#[test]
fn a_decision_that_is_too_old_takes_no_leave() {
    let mut lanes = lanes(10, 1, 100, 100);
    let rate = Arc::new(Route {
        profile: Profile { messages_per_minute: Some(1), ..Profile::default() },
        ..Arc::into_inner(route("a")).unwrap()
    });
    for _ in 0..3 {
        let mut stale = job();
        stale.source.holds_until = NOW;
        lanes.push(rate.clone(), stale, NOW);
    }
    lanes.push(rate.clone(), job(), NOW);
    let mut turn = turn("a");
    // All that are too old come out, to be decided anew, and the first that is not still leaves.
    for _ in 0..4 {
        assert!(takes_a_job(&mut lanes, &mut turn));
    }
    lanes.push(rate, job(), NOW);
    assert!(!takes_a_job(&mut lanes, &mut turn), "one a minute");
}

#[test]
fn destinations_take_turns_when_all_workers_are_busy() {
    let mut lanes = lanes(1, 1, 100, 100);
    for key in ["a", "b"] {
        assert!(starts(&mut lanes, key), "to connect takes no place");
        assert!(!starts(&mut lanes, key));
    }
    let (mut a, mut b) = (turn("a"), turn("b"));
    assert!(takes_a_job(&mut lanes, &mut a) && takes_a_job(&mut lanes, &mut b));
    assert!(connects(&mut lanes, &mut a).is_none());
    assert_eq!((lanes.active, lanes.trying), (1, 1));
    // The other one has to wait, with its connection.
    assert!(lanes.note_connected(&mut b, &SourceKey::default()).is_err());
    lanes.lanes.get_mut("b").unwrap().jobs.push_front(job());
    assert_eq!(ended(lanes.next(&mut b, None, NOW)), None);
    assert_eq!((lanes.active, lanes.trying), (1, 0));
    a.messages = TURN_MESSAGES;
    let NextJob::End { other: Some(start), .. } = lanes.next(&mut a, None, NOW) else { panic!("its turn is over") };
    assert_eq!((&*start.route.key, start.is_trying), ("b", false));
    let mut b = Turn { is_trying: false, ..turn("b") };
    assert!(takes_a_job(&mut lanes, &mut b));
    assert_eq!((lanes.active, lanes.trying), (1, 0));
}

#[test]
fn destinations_that_answer_nobody_are_in_nobodys_way() {
    let mut lanes = lanes(2, 2, 1_000, 100);
    let trying_max = 2 * TRYING_PER_PLACE;
    let dead: Vec<String> = (0..20).map(|number| format!("dead{number}")).collect();
    let started = dead.iter().filter(|key| starts(&mut lanes, key)).count();
    assert_eq!((started, lanes.active), (trying_max, 0));
    // What is reached already goes on.
    let mut alive = turn("dead0");
    assert!(takes_a_job(&mut lanes, &mut alive));
    connects(&mut lanes, &mut alive);
    assert_eq!((lanes.active, lanes.trying), (1, trying_max - 1));
    assert!(starts(&mut lanes, "dead0"));
    // Who gives up lets the next one try.
    let mut dead = turn("dead1");
    assert!(takes_a_job(&mut lanes, &mut dead));
    lanes.note_unconnected(&dead.key, job());
    assert_eq!(ended(lanes.next(&mut dead, None, NOW)).as_deref(), Some("dead10"));
}

#[test]
fn when_nobody_can_connect_all_that_waits_fails() {
    let mut lanes = lanes(10, 5, 100, 100);
    for _ in 0..4 {
        starts(&mut lanes, "a");
    }
    let mut turn = turn("a");
    assert!(takes_a_job(&mut lanes, &mut turn));
    let Unconnected::Fail(jobs) = lanes.note_unconnected(&"a".into(), job()) else { panic!("others are connected") };
    assert_eq!(jobs.len(), 4);
    // One worker at a time tries from now on, until it is connected.
    assert!(lanes.end_worker(&mut turn).is_none());
    assert!(!starts(&mut lanes, "a"));
    assert!(!starts(&mut lanes, "a"));
    assert_eq!(lanes.workers(), 1);
    assert!(connects(&mut lanes, &mut turn).is_some());
}

#[test]
fn one_refused_connection_costs_nothing_while_others_work() {
    let mut lanes = lanes(10, 5, 100, 100);
    for _ in 0..4 {
        starts(&mut lanes, "a");
    }
    let mut first = turn("a");
    let mut third = connects(&mut lanes, &mut first).unwrap();
    assert_eq!(lanes.workers(), 3);
    let Unconnected::LeftToOthers = lanes.note_unconnected(&"a".into(), job()) else { panic!("one is connected") };
    lanes.end_worker(&mut turn("a"));
    lanes.end_worker(&mut third);
    for _ in 0..5 {
        assert!(takes_a_job(&mut lanes, &mut first), "the one that is connected sends them all");
    }
}

/// A destination that says it is too much pauses, gets along with less, and is remembered so.
#[test]
fn a_destination_that_wants_less_gets_less() {
    let mut lanes = lanes(10, 4, 100, 100);
    for _ in 0..9 {
        starts(&mut lanes, "a");
    }
    let mut turns = all_connect(&mut lanes, vec![turn("a"), turn("a")]);
    lanes.note_verdict(&"a".into(), Verdict::TooFast, NOW);
    let mut resumes = Vec::new();
    for turn in &mut turns {
        let NextJob::End { resume_after, .. } = lanes.next(turn, None, NOW) else { panic!("it pauses") };
        resumes.extend(resume_after);
        lanes.note_disconnected(&turn.key, &SourceKey::default());
    }
    assert_eq!((resumes.len(), lanes.workers()), (1, 0), "one waits for the end of the pause");
    assert!(!starts(&mut lanes, "a"));
    let later = NOW + resumes[0];
    let starts_again = lanes.resume(&"a".into());
    assert_eq!(starts_again.len(), 2, "half as many as there were");
    for start in starts_again {
        let mut turn = Turn { is_trying: start.is_trying, ..turn("a") };
        while let NextJob::Send { .. } = lanes.next(&mut turn, None, later) {}
    }
    lanes.take_idle_connections(later, Duration::ZERO);
    assert!(lanes.lanes.is_empty());
    starts(&mut lanes, "a");
    assert_eq!(lanes.lanes["a"].workers_max(), 2, "what was learnt is kept");
}

#[test]
fn claims_end_with_the_node_that_made_them() {
    let mut lanes = lanes(10, 5, 100, 4);
    starts(&mut lanes, "a");
    lanes.holdings.hold(&domain(4));
    lanes.reset(None);
    assert_eq!(lanes.try_hold(&domain(1), Priority::NORMAL), None, "without a lease nothing may be held");
    lanes.reset(Some((OTHER_NODE, Membership::ALONE)));
    assert_eq!(lanes.try_hold(&domain(1), Priority::NORMAL), Some(OTHER_NODE));
    lanes.unhold(&domain(4), NODE);
    assert_eq!(lanes.holdings.room(), 99, "what the old node held is not counted twice");
    let mut old = turn("a");
    assert_eq!(ended(lanes.next(&mut old, None, NOW)), None);
}

fn membership(nodes: u32, position: u32, fingerprint: u64, is_agreed: bool) -> Membership {
    Membership { nodes, position, fingerprint, is_agreed }
}

/// A destination whose one place among two nodes is at this position.
fn key_of_place(position: u32) -> &'static str {
    let is_at = |key: &&&str| membership(2, position, 1, true).share(1, key) == 1;
    ["a.example", "b.example", "c.example", "d.example", "e.example"].iter().find(is_at).unwrap()
}

#[test]
fn workers_beyond_a_share_that_shrinks_end_after_their_message_and_only_then_is_it_told() {
    let mut lanes = lanes(10, 4, 100, 100);
    lanes.keep_to(membership(1, 0, 1, true), NOW);
    lanes.note_announced(1);
    for _ in 0..20 {
        starts(&mut lanes, "a");
    }
    let mut turns = all_connect(&mut lanes, vec![turn("a"), turn("a")]);
    assert_eq!((turns.len(), lanes.workers()), (4, 4));
    assert!(turns.iter_mut().all(|turn| takes_a_job(&mut lanes, turn)));

    lanes.keep_to(membership(2, 0, 2, false), NOW);
    assert!(!lanes.has_news());
    assert!(!starts(&mut lanes, "a"));
    assert_eq!(ended(lanes.next(&mut turns[0], None, NOW)), None);
    assert!(!lanes.has_news());
    assert_eq!(ended(lanes.next(&mut turns[1], None, NOW)), None);
    assert!(lanes.has_news());
    assert_eq!((lanes.workers(), lanes.keeps_to()), (2, 2));
    assert!(takes_a_job(&mut lanes, &mut turns[2]), "the others go on");

    // When another node leaves, its share is taken over at once, once all agree on it.
    lanes.note_announced(2);
    assert!(lanes.keep_to(membership(1, 0, 3, true), NOW).is_some_and(|reshaped| reshaped.start.len() == 2));
    assert_eq!(lanes.workers(), 4);
}

#[test]
fn a_destination_without_a_place_for_this_node_is_left_to_the_others() {
    let (ours, theirs) = (key_of_place(0), key_of_place(1));
    let mut lanes = lanes(10, 1, 100, 100);
    assert!(starts(&mut lanes, ours));
    starts(&mut lanes, ours);
    assert!(starts(&mut lanes, theirs));
    starts(&mut lanes, theirs);
    lanes.holdings.hold(&domain(4));
    let reshaped = lanes.keep_to(membership(2, 0, 2, true), NOW).unwrap();
    assert_eq!(reshaped.not_ours.len(), 2);
    assert_eq!(lanes.try_hold(&domain(1), Priority::NORMAL), None, "sessions leave its mail to the store");
    assert_eq!(lanes.holdings.held(NOW), domain(50), "and it is not claimed");
    let Pushed::NotOurs(_) = lanes.push(route(theirs), job(), NOW) else { panic!("there is no place for it") };
    // What a worker of it has in hand is not put in line again where nobody would take it.
    connects(&mut lanes, &mut turn(theirs));
    let Unconnected::Fail(jobs) = lanes.note_unconnected(&theirs.into(), job()) else { panic!("nobody takes it") };
    assert_eq!(jobs.len(), 1);

    lanes.keep_to(membership(1, 0, 3, true), NOW);
    assert_eq!(lanes.holdings.held(NOW), domain(4));
    assert!(matches!(lanes.push(route(theirs), job(), NOW), Pushed::Waits), "the place is ours again, and taken");
}

#[test]
fn mail_for_a_destination_that_is_ours_after_all_is_claimed_again() {
    let theirs = key_of_place(1);
    let mut lanes = lanes(10, 1, 100, 100);
    lanes.keep_to(membership(2, 0, 2, true), NOW);
    let Pushed::NotOurs(_) = lanes.push(route(theirs), job(), NOW) else { panic!("there is no place for it") };
    // Its domain has other MX hosts now.
    assert!(starts(&mut lanes, key_of_place(0)));
    assert_eq!(lanes.holdings.held(NOW), []);
}

#[test]
fn a_node_that_comes_to_others_waits_until_they_have_made_room() {
    let mut lanes = lanes(10, 4, 100, 100);
    lanes.reset(Some((OTHER_NODE, membership(2, 1, 2, false))));
    assert!(lanes.has_news(), "it keeps to its share of nothing, and says so");
    assert_eq!(lanes.try_hold(&domain(1), Priority::NORMAL), None);
    assert!(matches!(lanes.push(route("a"), job(), NOW), Pushed::NotOurs(_)));
    lanes.note_announced(2);
    lanes.keep_to(membership(2, 1, 2, true), NOW);
    assert!(!lanes.has_news());
    assert_eq!(lanes.try_hold(&domain(1), Priority::NORMAL), Some(OTHER_NODE));
    assert!(starts(&mut lanes, "a"));
}

/// A source address of its own.
fn from(last: u8) -> Source {
    Source::at([192, 0, 2, last].into())
}

fn push_from(lanes: &mut Lanes, last: u8) {
    lanes.push(route("a"), Job { source: from(last), ..job() }, NOW);
}

#[test]
fn a_source_that_reaches_nobody_leaves_the_mail_of_others_alone() {
    let mut lanes = lanes(10, 5, 100, 100);
    for last in [1, 2, 1, 2, 2] {
        push_from(&mut lanes, last);
    }
    lanes.note_connected(&mut turn("a"), &from(2).key).unwrap();
    // Of the first nobody is connected: its mail fails, and no other.
    let failed = lanes.note_unconnected(&"a".into(), Job { source: from(1), ..job() });
    let Unconnected::Fail(jobs) = failed else { panic!("others have another source") };
    assert_eq!(jobs.len(), 3);
    assert!(jobs.iter().all(|job| job.source.key == from(1).key));
    let mut turn = Turn { is_trying: false, ..turn("a") };
    for _ in 0..3 {
        let NextJob::Send { job, .. } = lanes.next(&mut turn, None, NOW) else { panic!("there are jobs") };
        assert_eq!(job.source.key, from(2).key);
    }
    // Of the second somebody is: it is left to that one.
    let left = lanes.note_unconnected(&"a".into(), Job { source: from(2), ..job() });
    assert!(matches!(left, Unconnected::LeftToOthers));
}

/// Workers that begin together take the connections that are there, each its own.
#[test]
fn what_is_idle_is_used_before_anything_is_closed() {
    let mut lanes = lanes(10, 4, 100, 100);
    for _ in 0..9 {
        starts(&mut lanes, "a");
    }
    let mut turns = all_connect(&mut lanes, vec![turn("a"), turn("a")]);
    for turn in &mut turns {
        assert!(takes_a_job(&mut lanes, turn));
        lanes.lanes.get_mut("a").unwrap().end_opening(turn);
    }
    let lane = lanes.lanes.get_mut("a").unwrap();
    for _ in 0..4 {
        lane.connected.remove(&SourceKey::default());
        lane.idle.push((Connection::unused(SourceKey::default()), NOW));
    }
    let mut chosen = Vec::new();
    for turn in &mut turns {
        let NextJob::Send { open, surplus, .. } = lanes.next(turn, None, NOW) else { panic!("there are jobs") };
        assert!(surplus.is_none(), "the others have a use for it");
        chosen.extend(open);
    }
    assert_eq!(chosen.len(), 4);
    // One more source: a connection of the others goes, and only one.
    let lane = lanes.lanes.get_mut("a").unwrap();
    for connection in chosen {
        lane.connected.remove(&SourceKey::default());
        lane.idle.push((connection, NOW));
    }
    lane.jobs.clear();
    push_from(&mut lanes, 1);
    let NextJob::Send { open, surplus, .. } = lanes.next(&mut turns[0], None, NOW) else { panic!("there is a job") };
    assert!(open.is_none() && surplus.is_some());
    assert_eq!(lanes.lanes["a"].idle.len(), 3);
}
