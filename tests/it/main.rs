//! The integration tests of weir: one binary, one module for each concern.

#![expect(clippy::unwrap_used, reason = "what tests do when something is wrong")]

mod architecture;
mod auto_loader;
mod azure;
mod azure_faults;
mod changes;
mod checking;
mod checking_steps;
mod clocks;
mod contract;
mod contract_fixtures;
mod crashes;
mod damage;
mod disks;
mod event_hubs;
mod event_hubs_faults;
mod event_hubs_jobs;
mod event_hubs_protocol;
mod event_hubs_sending;
mod event_hubs_starts;
mod evolution;
mod examples;
mod files;
mod files_stores;
mod hostile;
mod hostile_steps;
mod hot_swap;
mod kills;
mod notifications;
mod parquet;
mod plugin_grants;
mod plugin_languages;
mod plugin_tools;
mod readers;
mod restarts;
mod rivals;
mod soak;
mod stateful_crashes;
mod stores;
mod swap_commands;
mod swaps;
mod watermarks;
mod windows;
mod worked;
mod zombies;

/// Where the binary is that cargo built for these tests. Call first.
fn binary() {
    weir_tests::binary::is_at(env!("CARGO_BIN_EXE_weir"));
}

/// Counts what the tests hold, for the soak.
#[global_allocator]
static COUNTING: weir_tests::memory::Counting = weir_tests::memory::Counting;
