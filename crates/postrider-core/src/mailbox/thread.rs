//! Messages as conversations (RFC 5256 section 3): REFERENCES and ORDEREDSUBJECT.
//!
//! Nothing here recurses, and the work grows with the number of messages, however their references are knotted.

use std::collections::HashMap;

use super::Digest;
use super::sort::ListedMessage;
use crate::Timestamp;

/// How messages are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadAlgorithm {
    References,
    OrderedSubject,
}

/// Trees of messages, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Threads {
    nodes: Vec<Node>,
    roots: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Node {
    /// `None`: stands for a message that is not there, and has two children at least.
    number: Option<u32>,
    children: Vec<u32>,
}

/// A node of [`Threads`].
#[derive(Debug, Clone, Copy)]
pub struct Thread<'a> {
    threads: &'a Threads,
    node: u32,
}

impl<'a> Thread<'a> {
    /// `None`: stands for a message that is not there.
    pub fn number(self) -> Option<u32> {
        self.threads.nodes[self.node as usize].number
    }

    pub fn children(self) -> impl Iterator<Item = Thread<'a>> {
        let threads = self.threads;
        threads.nodes[self.node as usize].children.iter().map(move |&node| Thread { threads, node })
    }
}

impl Threads {
    pub fn of(messages: &[ListedMessage<'_>], algorithm: ThreadAlgorithm) -> Self {
        match algorithm {
            ThreadAlgorithm::References => references(messages),
            ThreadAlgorithm::OrderedSubject => ordered_subject(messages),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The trees.
    pub fn iter(&self) -> impl Iterator<Item = Thread<'_>> {
        self.roots.iter().map(|&node| Thread { threads: self, node })
    }

    /// All nodes, parents before children, with their depths: 0 for the first of each tree. `None`: as [`Thread::number`].
    pub fn walk(&self) -> impl Iterator<Item = (u32, Option<u32>)> {
        let mut waiting: Vec<(u32, u32)> = self.roots.iter().rev().map(|&root| (0, root)).collect();
        std::iter::from_fn(move || {
            let (depth, node) = waiting.pop()?;
            let Node { number, children } = &self.nodes[node as usize];
            waiting.extend(children.iter().rev().map(|&child| (depth + 1, child)));
            Some((depth, *number))
        })
    }
}

/// Parent of what has none.
const NONE: u32 = u32::MAX;

fn references(messages: &[ListedMessage<'_>]) -> Threads {
    let mut links = Links::with_messages(messages);
    for (i, message) in messages.iter().enumerate() {
        links.link(i as u32, message.digest);
    }
    let parents = links.without_dummies(messages.len());
    let mut forest = Forest::new(messages, parents);
    forest.merge_subjects();
    forest.into_threads()
}

/// Step 1: who is whose parent. Messages come first, in their order; behind them stand those that are only referred to.
struct Links<'a> {
    by_id: HashMap<&'a str, u32>,
    parents: Vec<u32>,
    child_counts: Vec<u32>,
    /// Steps up the tree that may still be taken to look for loops. Whoever ties knots so long that these are used up gets
    /// messages without parents.
    steps_left: usize,
}

impl<'a> Links<'a> {
    fn with_messages(messages: &[ListedMessage<'a>]) -> Self {
        const STEPS_PER_MESSAGE: usize = 100;
        let mut by_id = HashMap::with_capacity(messages.len() * 2);
        for (i, message) in messages.iter().enumerate() {
            let id = message.digest.message_id();
            if !id.is_empty() {
                // The first of several with one ID has it; the others are strangers.
                by_id.entry(id).or_insert(i as u32);
            }
        }
        Self {
            by_id,
            parents: vec![NONE; messages.len()],
            child_counts: vec![0; messages.len()],
            steps_left: messages.len() * STEPS_PER_MESSAGE,
        }
    }

    fn link(&mut self, message: u32, digest: &'a Digest) {
        let mut previous = NONE;
        let mut has_references = false;
        // Step 1.A.
        for id in digest.references() {
            has_references = true;
            let current = self.of_id(id);
            if previous != NONE && self.parents[current as usize] == NONE {
                self.set_parent(current, previous);
            }
            previous = current;
        }
        let in_reply_to = digest.in_reply_to();
        if !has_references && !in_reply_to.is_empty() {
            previous = self.of_id(in_reply_to);
        }
        // Step 1.B: what others said of this message's parent holds only until it says so itself.
        let old = std::mem::replace(&mut self.parents[message as usize], NONE);
        if old != NONE {
            self.child_counts[old as usize] -= 1;
        }
        if previous != NONE {
            self.set_parent(message, previous);
        }
    }

    fn of_id(&mut self, id: &'a str) -> u32 {
        let next = self.parents.len() as u32;
        let node = *self.by_id.entry(id).or_insert(next);
        if node == next {
            self.parents.push(NONE);
            self.child_counts.push(0);
        }
        node
    }

    /// Unless that made a loop.
    fn set_parent(&mut self, child: u32, parent: u32) {
        let mut above = parent;
        // Who has no children is nobody's ancestor.
        while self.child_counts[child as usize] > 0 && above != NONE {
            if above == child || self.steps_left == 0 {
                return;
            }
            self.steps_left -= 1;
            above = self.parents[above as usize];
        }
        if child != parent {
            self.parents[child as usize] = parent;
            self.child_counts[parent as usize] += 1;
        }
    }

    /// Steps 2 and 3: every message's parent, a message or a dummy. Of the dummies those stay that are roots with more than one
    /// child.
    fn without_dummies(self, messages: usize) -> Vec<u32> {
        let mut parents = self.parents;
        let is_dummy = |node: u32| node as usize >= messages;
        // The nearest ancestor that is a message, or the root. Each path is walked once: what was passed points there.
        let mut path = Vec::new();
        for node in 0..messages as u32 {
            let mut above = parents[node as usize];
            while above != NONE && is_dummy(above) && parents[above as usize] != NONE {
                path.push(above);
                above = parents[above as usize];
            }
            parents[node as usize] = above;
            for passed in path.drain(..) {
                parents[passed as usize] = above;
            }
        }
        let mut counts = vec![0u32; parents.len()];
        for &parent in parents[..messages].iter().filter(|&&parent| parent != NONE) {
            counts[parent as usize] += 1;
        }
        for parent in parents.iter_mut().take(messages).filter(|parent| **parent != NONE) {
            if is_dummy(*parent) && counts[*parent as usize] == 1 {
                *parent = NONE;
            }
        }
        parents
    }
}

/// Messages and dummies with their parents, known by the place that each has when all are sorted by date.
struct Forest<'a> {
    messages: &'a [ListedMessage<'a>],
    parents: Vec<u32>,
    /// Of a message its place among all; of a dummy that of its first child, `NONE` where it has none.
    ranks: Vec<u32>,
    /// The messages by rank.
    order: Vec<u32>,
    /// A dummy that was merged into another.
    merged_into: HashMap<u32, u32>,
}

impl<'a> Forest<'a> {
    fn new(messages: &'a [ListedMessage<'a>], parents: Vec<u32>) -> Self {
        let order = by_date(messages);
        let mut ranks = vec![NONE; parents.len()];
        for (rank, &node) in order.iter().enumerate() {
            ranks[node as usize] = rank as u32;
        }
        let mut forest = Self { messages, parents, ranks, order, merged_into: HashMap::new() };
        for node in 0..messages.len() {
            let parent = forest.parents[node];
            if parent != NONE && forest.is_dummy(parent) {
                forest.has_first(parent, forest.ranks[node]);
            }
        }
        forest
    }

    fn is_dummy(&self, node: u32) -> bool {
        node as usize >= self.messages.len()
    }

    /// A dummy has a child of that rank.
    fn has_first(&mut self, dummy: u32, rank: u32) {
        let first = &mut self.ranks[dummy as usize];
        *first = rank.min(*first);
    }

    /// The message, or the first child of a dummy.
    fn digest(&self, node: u32) -> &'a Digest {
        let message = self.order[self.ranks[node as usize] as usize];
        self.messages[message as usize].digest
    }

    /// Step 5: threads that have the same base subject become one.
    fn merge_subjects(&mut self) {
        let mut roots: Vec<u32> = (0..self.parents.len() as u32)
            .filter(|&node| self.parents[node as usize] == NONE && self.ranks[node as usize] != NONE)
            .collect();
        // Step 4.
        roots.sort_unstable_by_key(|&node| self.ranks[node as usize]);
        let mut by_subject: HashMap<&'a [u8], u32> = HashMap::with_capacity(roots.len());
        for &root in &roots {
            let digest = self.digest(root);
            let key = digest.subject_key();
            if key.is_empty() {
                continue;
            }
            let known = *by_subject.entry(key).or_insert(root);
            let is_better =
                self.is_dummy(root) || self.digest(known).is_reply_or_forward() && !digest.is_reply_or_forward();
            if !self.is_dummy(known) && is_better {
                by_subject.insert(key, root);
            }
        }
        for &root in &roots {
            let digest = self.digest(root);
            let key = digest.subject_key();
            let Some(&known) = by_subject.get(key) else { continue };
            if known == root {
                continue;
            }
            let rank = self.ranks[root as usize];
            if self.is_dummy(known) {
                if self.is_dummy(root) {
                    self.merged_into.insert(root, known);
                } else {
                    self.parents[root as usize] = known;
                }
                self.has_first(known, rank);
            } else if digest.is_reply_or_forward() && !self.digest(known).is_reply_or_forward() {
                self.parents[root as usize] = known;
            } else {
                let dummy = self.parents.len() as u32;
                self.parents.push(NONE);
                self.ranks.push(rank.min(self.ranks[known as usize]));
                self.parents[root as usize] = dummy;
                self.parents[known as usize] = dummy;
                by_subject.insert(key, dummy);
            }
        }
    }

    /// Step 6: siblings by date. Nodes are handed to their parents in the order of dates.
    fn into_threads(self) -> Threads {
        let mut threads = Threads::default();
        threads.nodes.resize(self.parents.len(), Node::default());
        for &node in &self.order {
            let message = &self.messages[node as usize];
            threads.nodes[node as usize].number = Some(message.number);
            let parent = self.parents[node as usize];
            if parent == NONE {
                threads.roots.push(node);
                continue;
            }
            let parent = *self.merged_into.get(&parent).unwrap_or(&parent);
            let siblings = &mut threads.nodes[parent as usize].children;
            siblings.push(node);
            // A dummy is as old as its first child.
            if siblings.len() == 1 && self.is_dummy(parent) {
                threads.roots.push(parent);
            }
        }
        threads
    }
}

fn ordered_subject(messages: &[ListedMessage<'_>]) -> Threads {
    let mut threads = Threads::default();
    let mut by_subject: HashMap<&[u8], u32> = HashMap::new();
    for &place in &by_date(messages) {
        let message = &messages[place as usize];
        let node = threads.nodes.len() as u32;
        threads.nodes.push(Node { number: Some(message.number), children: Vec::new() });
        let first = *by_subject.entry(message.digest.subject_key()).or_insert(node);
        if first == node {
            threads.roots.push(node);
        } else {
            threads.nodes[first as usize].children.push(node);
        }
    }
    threads
}

/// The places of the messages in the order of their dates, among equals of their numbers (RFC 5256 section 2.2).
fn by_date(messages: &[ListedMessage<'_>]) -> Vec<u32> {
    let mut order: Vec<(Timestamp, u32, u32)> =
        messages.iter().enumerate().map(|(i, message)| (message.sent_at(), message.number, i as u32)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Threads {
        /// Appends `(2)(3 6 (4 23)(44 7 96))`: what an untagged THREAD response lists (RFC 5256 section 4).
        fn write(&self, out: &mut Vec<u8>) {
            enum Step {
                Text(&'static [u8]),
                Node(u32),
            }
            let mut steps = Vec::new();
            for &root in &self.roots {
                out.push(b'(');
                steps.push(Step::Node(root));
                while let Some(step) = steps.pop() {
                    let node = match step {
                        Step::Text(text) => {
                            out.extend_from_slice(text);
                            continue;
                        }
                        Step::Node(node) => &self.nodes[node as usize],
                    };
                    if let Some(number) = node.number {
                        out.extend_from_slice(number.to_string().as_bytes());
                        if !node.children.is_empty() {
                            out.push(b' ');
                        }
                    }
                    match node.children.as_slice() {
                        // One that follows on another stands beside it.
                        [only] => steps.push(Step::Node(*only)),
                        children => {
                            for &child in children.iter().rev() {
                                steps.extend([Step::Text(b")"), Step::Node(child), Step::Text(b"(")]);
                            }
                        }
                    }
                }
                out.push(b')');
            }
        }
    }

    /// Threads of messages that are given as `(id, references, subject)`, each an hour after the one before.
    fn threads(messages: &[(&str, &str, &str)], algorithm: ThreadAlgorithm) -> String {
        let digests: Vec<Digest> = messages
            .iter()
            .map(|(id, references, subject)| {
                let bracketed = |ids: &str| ids.split_whitespace().map(|id| format!(" <{id}>")).collect::<String>();
                let (id, references) = (bracketed(id), bracketed(references));
                let message = format!("Message-ID:{id}\r\nReferences:{references}\r\nSubject: {subject}\r\n\r\n");
                Digest::of(message.as_bytes())
            })
            .collect();
        text(&digests, algorithm)
    }

    fn text(digests: &[Digest], algorithm: ThreadAlgorithm) -> String {
        let listed: Vec<ListedMessage<'_>> = digests
            .iter()
            .zip(1u32..)
            .map(|(digest, number)| ListedMessage {
                number,
                digest,
                arrived_at: Timestamp::from_millis(i64::from(number) * 3_600_000),
                size: 1,
            })
            .collect();
        let mut out = Vec::new();
        Threads::of(&listed, algorithm).write(&mut out);
        String::from_utf8(out).expect("it is ASCII")
    }

    fn by_references(messages: &[(&str, &str, &str)]) -> String {
        threads(messages, ThreadAlgorithm::References)
    }

    #[test]
    fn replies_follow_on_what_they_refer_to() {
        assert_eq!(by_references(&[]), "");
        assert_eq!(by_references(&[("a", "", "x"), ("b", "a", "Re: x"), ("c", "a b", "Re: x")]), "(1 2 3)");
        assert_eq!(by_references(&[("a", "", "x"), ("b", "a", ""), ("c", "a", ""), ("d", "c", "")]), "(1 (2)(3 4))");
        // Replies that came first; siblings stand by date.
        assert_eq!(by_references(&[("c", "a b", ""), ("b", "a", ""), ("a", "", "")]), "(3 2 1)");
        // A truncated list of references yields to what the message says itself.
        assert_eq!(by_references(&[("c", "a b", ""), ("b", "z a", ""), ("a", "", ""), ("d", "a", "")]), "(3 (2 1)(4))");
    }

    #[test]
    fn messages_that_are_not_there() {
        // One child of a missing message is a root of its own; more share it.
        assert_eq!(by_references(&[("b", "a", "x"), ("c", "z", "y")]), "(1)(2)");
        let alone = Digest::of(b"Message-ID: <b>\r\nReferences: <a>\r\n\r\n");
        let alone = ListedMessage { number: 1, digest: &alone, arrived_at: Timestamp::default(), size: 1 };
        let nodes: Vec<(u32, Option<u32>)> = Threads::of(&[alone], ThreadAlgorithm::References).walk().collect();
        assert_eq!(nodes, [(0, Some(1))]);
        assert_eq!(by_references(&[("b", "a", "x"), ("c", "a", "y")]), "((1)(2))");
        assert_eq!(by_references(&[("b", "a z", "x"), ("c", "a z", "y"), ("d", "b", "")]), "((1 3)(2))");
        assert_eq!(by_references(&[("a", "", "x"), ("c", "a z", ""), ("d", "a z", "")]), "(1 (2)(3))");
    }

    #[test]
    fn loops_and_copies() {
        assert_eq!(by_references(&[("a", "b", "x"), ("b", "a", "y")]), "(2 1)");
        assert_eq!(by_references(&[("a", "a", "x")]), "(1)");
        assert_eq!(by_references(&[("a", "b c a", "x"), ("c", "a", "y")]), "(1 2)");
        assert_eq!(by_references(&[("a", "", "x"), ("a", "", "y"), ("b", "a", "z")]), "(1 3)(2)");
        assert_eq!(by_references(&[("", "", "x"), ("", "", "y")]), "(1)(2)");
    }

    #[test]
    fn threads_of_one_subject_become_one() {
        // A reply joins the original; two originals, or two replies, become siblings.
        assert_eq!(by_references(&[("a", "", "x"), ("b", "", "Re: X"), ("c", "", "re: x")]), "(1 (2)(3))");
        assert_eq!(by_references(&[("b", "", "Re: x"), ("a", "", "x")]), "(2 1)");
        assert_eq!(by_references(&[("a", "", "x"), ("b", "", "x"), ("c", "", "x")]), "((1)(2)(3))");
        assert_eq!(by_references(&[("a", "", "Re: x"), ("b", "", "Re: x")]), "((1)(2))");
        // A missing message takes in the others, also those of another missing one.
        assert_eq!(by_references(&[("a", "", "x"), ("b", "z", "x"), ("c", "z", "y")]), "((1)(2)(3))");
        let two = [("a", "y", "x"), ("b", "y", ""), ("c", "z", "x"), ("d", "z", "")];
        assert_eq!(by_references(&two), "((1)(2)(3)(4))");
        assert_eq!(by_references(&[("a", "", ""), ("b", "", "")]), "(1)(2)");
    }

    #[test]
    fn ordered_by_subject() {
        let messages = [("a", "", "x"), ("b", "", "y"), ("c", "", "Re: x"), ("d", "", "x")];
        assert_eq!(threads(&messages, ThreadAlgorithm::OrderedSubject), "(1 (3)(4))(2)");
        assert_eq!(threads(&messages[..3], ThreadAlgorithm::OrderedSubject), "(1 3)(2)");
    }

    #[test]
    fn the_tree_can_be_walked() {
        let digests = [("a", ""), ("b", "z"), ("c", "z")]
            .map(|(id, root)| Digest::of(format!("Message-ID: <{id}>\r\nReferences: <{root}>\r\n\r\n").as_bytes()));
        let at = Timestamp::default();
        let listed: Vec<ListedMessage<'_>> = digests
            .iter()
            .zip(1..)
            .map(|(digest, number)| ListedMessage { number, digest, arrived_at: at, size: 1 })
            .collect();
        let threads = Threads::of(&listed, ThreadAlgorithm::References);
        let roots: Vec<Option<u32>> = threads.iter().map(Thread::number).collect();
        assert_eq!(roots, [Some(1), None]);
        let children: Vec<Option<u32>> = threads.iter().flat_map(Thread::children).map(Thread::number).collect();
        assert_eq!(children, [Some(2), Some(3)]);
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let count = 20_000;
        let digests: Vec<Digest> = (0..count)
            .map(|i| Digest::of(format!("Message-ID: <{i}>\r\nIn-Reply-To: <{}>\r\n\r\n", i + 1).as_bytes()))
            .collect();
        let chain: Vec<String> = (1..=count).rev().map(|number: u32| number.to_string()).collect();
        assert_eq!(text(&digests, ThreadAlgorithm::References), format!("({})", chain.join(" ")));
    }

    proptest! {
        #[test]
        fn every_message_stands_in_one_thread(
            messages in proptest::collection::vec((0u8..12, proptest::collection::vec(0u8..12, 0..4), "(Re: )?[ab]?"), 0..24)
        ) {
            let digests: Vec<Digest> = messages
                .iter()
                .map(|(id, references, subject)| {
                    let references: String = references.iter().map(|id| format!("<{id}> ")).collect();
                    let message = format!("Message-ID: <{id}>\r\nReferences: {references}\r\nSubject: {subject}\r\n\r\n");
                    Digest::of(message.as_bytes())
                })
                .collect();
            for algorithm in [ThreadAlgorithm::References, ThreadAlgorithm::OrderedSubject] {
                let text = text(&digests, algorithm);
                let mut numbers: Vec<usize> =
                    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
                numbers.sort_unstable();
                prop_assert_eq!(numbers, (1..=digests.len()).collect::<Vec<_>>());
                prop_assert_eq!(text.matches('(').count(), text.matches(')').count());
                prop_assert!(!text.contains("()") && !text.contains("( ") && !text.contains(" )"), "{}", text);
            }
        }
    }
}
