//! The suite of checks that every engine of the store passes: what the traits promise, and nothing that one engine does
//! in its own way. Time is passed in, so that no check waits.
//!
//! An engine's tests are one line, `postrider_store::conformance_suite!(MyHarness::new())`, with a value that implements
//! [`Harness`] on data that no other check uses.

// A check fails by panicking: it is code of tests, though tests of other crates run it.
#![allow(clippy::unwrap_used)]

mod audit;
mod claims;
mod copies;
mod directory;
mod durability;
mod emails;
mod filing;
mod finding;
mod fixtures;
mod flags;
mod history;
mod lists;
mod mailbox_model;
mod mailbox_random;
mod mailboxes;
mod model;
mod nodes;
mod notes;
mod orders;
mod outbox;
mod random;
mod requests;
mod settlements;
mod suppressions;
mod transfer;
mod users;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::traits::Store;

/// What a check needs of an engine.
#[async_trait]
pub trait Harness: Send + Sync + fmt::Debug {
    /// Opens the store: empty the first time, later with what is in it. A check closes it before it opens it again.
    async fn open(&self) -> Arc<dyn Store>;

    /// Opens the store once more beside the one that is open: as another node or, where only one process can send, as the
    /// command line does.
    async fn open_beside(&self) -> Arc<dyn Store> {
        self.open().await
    }

    /// Opens another store of the same engine, which is empty. It is asked for once.
    async fn open_other(&self) -> Arc<dyn Store>;

    /// Whether only one process can send from this engine, so that a new node takes over from all others at once.
    fn is_single_process(&self) -> bool;
}

/// Lists the checks once: as functions, and as tests of an engine. A check that is not listed is dead code, which the
/// compiler reports.
macro_rules! checks {
    ($d:tt $($module:ident { $($check:ident)* })*) => {
        /// The checks, one by one.
        pub mod check {
            use super::Harness;
            $($(
                pub async fn $check(harness: &dyn Harness) {
                    super::$module::$check(harness).await;
                }
            )*)*
        }

        /// Makes a test of each check, on a fresh harness each.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d harness:expr) => {
                $($(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $check() {
                        $crate::conformance::check::$check(&$d harness).await;
                    }
                )*)*
            };
        }
    };
}

checks! { $
    durability {
        what_was_accepted_survives_reopening
        what_was_settled_survives_reopening
        a_closed_store_answers_unavailable
        a_dropped_store_keeps_what_it_acknowledged
        health_tells_of_a_store_that_works
    }
    requests {
        a_request_is_carried_out_once
        requests_that_come_together_are_carried_out_once
        a_request_whose_filings_are_refused_may_come_again
        old_requests_are_forgotten
        requests_move_to_another_store
    }
    emails {
        messages_come_back_byte_for_byte
        an_email_shows_all_that_was_accepted
        an_id_is_taken_once
        ids_that_differ_only_in_their_process_are_different
        concurrent_accepts_are_all_there
        a_flood_is_stored_or_refused
        dropped_calls_are_done_wholly_or_not_at_all
        deleting_leaves_nothing
    }
    claims {
        claims_come_in_the_order_of_due_time
        the_more_urgent_is_claimed_first
        the_most_urgent_of_very_many_is_claimed_first
        what_is_not_due_is_not_claimed
        claims_carry_what_sending_takes
        no_delivery_is_claimed_twice
        claims_keep_to_limits
        domains_take_turns
        domains_with_one_delivery_each_are_all_served
        more_tells_whether_something_is_left
        what_is_accepted_with_a_claim_is_held
        released_deliveries_are_due_again
        only_the_holder_releases
        a_node_that_leaves_gives_all_back
        an_unknown_node_holds_nothing
        a_lapsed_lease_loses_its_claims
        a_lease_that_holds_keeps_its_claims
        a_dropped_claim_is_given_back
    }
    settlements {
        a_settlement_ends_the_claim
        a_deferred_delivery_comes_back_when_due
        only_the_holder_settles
        a_deleted_email_has_nothing_to_settle
        notifications_come_with_their_settlements_only
        a_refused_notification_undoes_its_settlements
        an_email_has_the_status_of_its_deliveries
        attempts_are_kept_in_order
        an_email_shows_the_trouble_of_any_of_its_deliveries
    }
    orders {
        orders_change_what_they_apply_to
        orders_on_what_is_claimed_stand_when_the_claim_ends
        what_is_sent_or_failed_stays_so_whatever_was_ordered
        orders_on_what_is_claimed_follow_each_other
        orders_outlive_the_node_that_holds_what_they_are_for
        a_retry_starts_expiry_again
        a_retry_makes_due
        a_retry_sends_nothing_before_its_time
        a_hold_keeps_until_released
        selections_restrict
        large_orders_reach_everything
    }
    lists {
        lists_are_newest_first_in_pages
        lists_filter_by_each_field
        lists_filter_by_status
        lists_filter_by_time
        an_empty_store_has_empty_lists_and_stats
        stats_count_each_email_once
        stats_tell_of_domains
        the_queue_is_seen_by_domain
        stats_tell_of_the_last_minute
        stats_tell_the_oldest
    }
    finding {
        each_term_of_a_query_restricts
        terms_are_negated
        words_are_found_whole
        words_of_texts_are_found
        addresses_are_found_whole_or_in_part
        lists_go_on_at_a_place
        lists_go_back_from_a_place
        lists_look_at_so_many
        words_lead_to_old_emails
        what_is_not_listed_is_not_found
    }
    random {
        random_operations_agree_with_a_model
    }
    nodes {
        nodes_are_listed_while_their_leases_hold
        a_node_alone_has_all_to_itself
        nodes_agree_before_they_share
        a_lapsed_node_shares_no_more
        a_node_that_lost_its_registration_holds_nothing
        changes_are_heard_through_another_store
    }
    notes {
        notes_are_kept_by_key
        changes_of_a_note_are_never_lost
    }
    outbox {
        events_come_with_what_they_tell_of
        a_call_may_say_where_it_goes
        events_are_followed_from_a_cursor
        calls_about_one_email_are_made_in_order
        a_call_that_failed_comes_back_when_due
        calls_are_locked_while_they_are_made
        endpoints_have_their_own_limits
        calls_are_listed_and_replayed
        calls_outlive_their_email
        what_is_old_is_forgotten
    }
    audit {
        what_somebody_did_is_known_and_how_it_ended
        the_log_comes_in_pages_and_by_filter
        old_entries_are_forgotten
    }
    history {
        what_all_counted_is_added_up
        what_is_handed_in_again_counts_once
        what_left_from_each_address_is_added_up
        old_history_is_forgotten
    }
    suppressions {
        addresses_are_listed_once
        suppressions_come_in_pages
        suppressions_come_with_their_settlements_only
        changes_of_the_list_are_told
        feedback_is_kept_with_its_delivery
    }
    transfer {
        an_imported_store_is_the_same_by_every_read
        an_import_leaves_out_what_is_there
        an_export_goes_on_behind_any_email
        large_messages_come_in_small_exports
        imported_mailboxes_are_the_same_by_every_read
        imports_of_mailboxes_are_all_or_nothing
    }
    mailboxes {
        a_user_has_six_mailboxes_from_the_start
        mailboxes_are_made_and_deleted
        a_renamed_mailbox_takes_those_below_along
        renaming_inbox_moves_its_messages
        subscriptions_are_to_names
        a_user_has_so_many_mailboxes
        annotations_are_kept
    }
    filing {
        a_filed_email_is_in_each_inbox
        a_filing_is_refused_by_itself
        an_email_is_filed_by_the_use_of_mailboxes
        notifications_are_filed
        appended_messages_have_what_was_given
        appends_are_all_or_nothing
        a_message_is_replaced_in_one_commit
        concurrent_filings_take_turns
        recent_messages_are_told_once
    }
    flags {
        flags_are_changed
        changed_entries_are_left_alone_if_asked
        keywords_have_their_numbers_for_good
        a_delta_is_all_that_happened_since
        what_happens_in_mailboxes_is_told
    }
    copies {
        copies_are_of_one_message
        moved_messages_are_gone_from_where_they_were
        marked_messages_are_expunged
        expunged_uids_are_remembered
        a_message_goes_with_what_refers_to_it_last
        what_is_deleted_from_the_record_stays_in_mailboxes
        a_deleted_mailbox_takes_its_messages_along
        quotas_are_kept_to
        concurrent_filings_pass_no_quota
    }
    mailbox_random {
        random_commands_agree_with_a_model_mailbox
        commands_at_once_keep_mailboxes_in_order
    }
    directory {
        domains_are_kept
        aliases_are_kept
        an_address_is_of_a_user_or_an_alias
        changes_of_the_directory_are_told
    }
    users {
        users_are_found_without_regard_to_case
        a_user_is_added_once
        passwords_are_replaced
        users_are_disabled_and_enabled
        users_are_removed
    }
}
