//! What gossip counts.

/// Counters since the start. Redundancy is `blocks_duplicate / blocks_first`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Blocks taken from neighbours.
    pub blocks_first: u64,
    /// Blocks that came again.
    pub blocks_duplicate: u64,
    /// Blocks pushed along trees.
    pub blocks_pushed: u64,
    /// Encoded bytes of those.
    pub bytes_pushed: u64,
    /// Blocks sent because they were wanted.
    pub blocks_served: u64,
    /// Encoded bytes of those.
    pub bytes_served: u64,
    /// Wants sent.
    pub wants_sent: u64,
    /// Blocks wanted by them.
    pub blocks_wanted: u64,
    /// Blocks that did not come in time from the neighbour that was asked.
    pub blocks_unanswered: u64,
    /// How often a neighbour was found to withhold what it says it holds.
    pub withheld: u64,
    /// Wanted spans of neighbours that were not queued because too many waited.
    pub wants_over_limit: u64,
    /// Grafts sent.
    pub grafts_sent: u64,
    /// Prunes sent.
    pub prunes_sent: u64,
    /// Frontier entries sent as announcements; those of the first exchange are not counted.
    pub announcements_sent: u64,
    /// Comparisons of neighbours that were not answered because they had just compared.
    pub comparisons_over_limit: u64,
    /// Blocks refused because their origin is not known to be allowed to publish.
    pub refused_unadmitted: u64,
    /// Blocks dropped because the site of their origin is not wanted.
    pub blocks_unwanted: u64,
    /// Blocks refused because too many gaps or too many unwritten blocks are open.
    pub refused_no_room: u64,
    /// Blocks and states refused because they are wrong; each is also a fault of its sender.
    pub refused_invalid: u64,
    /// Logs that were ignored because as many as allowed are known.
    pub logs_over_limit: u64,
    /// Origins that were found here to have signed two different blocks of one number.
    pub equivocations: u64,
    /// Durable blocks that did not read back any more.
    pub blocks_lost: u64,
    /// How many of them came again.
    pub blocks_restored: u64,
    /// Blocks that could not be written.
    pub blocks_not_persisted: u64,
    /// States taken, own ones included.
    pub states_first: u64,
    /// States that were not newer than what is known.
    pub states_old: u64,
    /// States sent.
    pub states_sent: u64,
    /// States refused because their origin is not admitted.
    pub states_unadmitted: u64,
    /// States dropped because they do not concern this node.
    pub states_unwanted: u64,
    /// States refused because as many as allowed are known.
    pub states_over_limit: u64,
    /// Neighbours that were not served because there were too many.
    pub neighbours_over_limit: u64,
}
