//! Opens what a previous agent has left pinned.

use std::{convert::Infallible, ops::ControlFlow};

use tracing::warn;

use super::{
    accounts::Accounts,
    generation::{Generation, Previous, Unreadable, unreported},
};
use crate::capture::{
    bpf::{Dropped, ProbeError, describe, pins},
    decode::AccountLayout,
    observer::cursor::Cursor,
    ring::Ring,
};

/// A previous generation: its pins, its ring and its reading state.
pub(super) struct PreviousGeneration {
    pub(super) pins: pins::Generation,
    pub(super) ring: Ring,
    /// Absent if it cannot be opened.
    pub(super) accounts: Option<Accounts>,
    pub(super) state: Generation,
}

impl PreviousGeneration {
    /// Opens a generation at the time at which the next one takes over; `cursor` states up to where it was read before.
    pub(super) fn open(
        pins: pins::Generation,
        cursor: Option<&Cursor>,
        layout: &AccountLayout,
    ) -> Result<Self, ProbeError> {
        let mut ring = pins.ring()?;
        let mut state = Generation::new(pins.name, ring.position());
        let rejected = pins
            .dropped()
            .unwrap_or_else(|error| {
                warn!(
                    generation = &*state.name,
                    error = describe(&error),
                    "failed to read how many records the ring of a previous agent has rejected"
                );
                Dropped::default()
            })
            .records;
        let cursor = state.own_cursor(cursor);
        if let Some(cursor) = cursor {
            // Fails if the ring was released past the cursor; then reading starts there.
            ring.skip_to(cursor.position);
            state.position = ring.position();
        }
        let unreported = unreported(rejected, cursor);
        if unreported > 0 {
            warn!(
                generation = &*state.name,
                dropped = unreported,
                "the ring was full while no agent read it"
            );
        }
        let has_current_layout = pins.has_current_layout();
        let unreadable = if has_current_layout {
            None
        } else {
            count_records(&mut ring, &state.name)
        };
        state.previous = Some(Previous {
            rejected,
            unreported,
            has_current_layout,
            unreadable,
        });
        let accounts = has_current_layout
            .then(|| {
                pins.accounts()
                    .map(|ring| Accounts::new(ring, layout.clone()))
            })
            .and_then(|accounts| {
                accounts
                    .inspect_err(|error| {
                        warn!(
                            generation = &*state.name,
                            error = describe(error),
                            "failed to read the accounts of a previous agent's kills"
                        );
                    })
                    .ok()
            });
        Ok(Self {
            pins,
            ring,
            accounts,
            state,
        })
    }
}

/// Counts the records of a ring by their headers, whose layout is the kernel's.
fn count_records(ring: &mut Ring, name: &str) -> Option<Unreadable> {
    let position = ring.position();
    let mut records = 0;
    let ControlFlow::Continue(()) = ring.drain(|_, _| {
        records += 1;
        ControlFlow::<Infallible>::Continue(())
    });
    (records > 0).then(|| {
        warn!(
            generation = name,
            records, "the records of an agent of another version cannot be read, and are lost"
        );
        Unreadable { position, records }
    })
}
