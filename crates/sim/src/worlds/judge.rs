//! What has an excuse, and what has none.
//!
//! A disturbance is a tenant's, and a time until which it lasts: what began after that has to come to its end.

use super::faults::ALL;
use super::links::{Act, Event};
use super::plan::TENANTS;
use super::transfer::{End, Ended, Transfer, Why};
use super::{Failure, World};
use crate::invariants;

/// How long a server waits for what its client may have forgotten to say.
const LINGERS_MS: u64 = 15_000;

/// So long after bad weather a server may still hold a connection whose client never got to ask, so that another from the
/// same endpoint finds no answer.
const FORGOTTEN_MS: u64 = 1_200_000;

impl World {
    /// What goes wrong with datagrams, and with connections, of these tenants until then has an excuse.
    pub(super) fn disturb(&mut self, tenants: u8, what: [bool; 2], until_ms: u64) {
        for (until, _) in
            self.disturbed_until_ms.iter_mut().zip(what).filter(|(_, is_disturbed)| *is_disturbed)
        {
            let affected = until.iter_mut().enumerate().filter(|(tenant, _)| tenants >> tenant & 1 == 1);
            affected.for_each(|(_, until)| *until = (*until).max(until_ms));
        }
    }

    /// Whether somebody knows why a datagram, 0, or a connection, 1, of these tenants that began then did not arrive.
    fn is_excused(&self, what: usize, tenants: u8, began_ms: u64) -> bool {
        (0..TENANTS)
            .filter(|tenant| tenants >> tenant & 1 == 1)
            .any(|tenant| !self.plan.is_whole(tenant) || self.disturbed_until_ms[what][tenant] >= began_ms)
    }

    pub(super) fn judge_transfer(&mut self, ended: &Ended) -> Result<(), Failure> {
        let (transfer, why) = match ended {
            Ended::Wrong(what) => return self.fail(what.clone()),
            Ended::Done(transfer) => (transfer, None),
            Ended::Broken(transfer, why) => (transfer, Some(*why)),
        };
        let Transfer { flow, tenants, began_ms, outlives_its_session, .. } = *transfer;
        self.queue.push(self.now_ms + LINGERS_MS, Event::Act(Act::Forget(flow)));
        let is_excused = self.is_excused(1, tenants, began_ms);
        let at = match why {
            None if outlives_its_session && !is_excused => {
                return self.fail(format!("it outlived its session, and went on: {transfer:?}"));
            }
            None => 0,
            Some(_) if outlives_its_session => 2,
            Some(why) => {
                let is_known = match why {
                    // In a storm a stack may be silent for 32 s, and the cloud's tcp_syn_s is 30: its server resets it in
                    // the end.
                    Why::Reset => {
                        self.full_ms.iter().any(|full_ms| *full_ms >= began_ms)
                            || self.storm_until_ms >= began_ms
                    }
                    Why::Unanswered => self.bad_weather_ms + FORGOTTEN_MS >= began_ms,
                    Why::Unheard => self.storm_until_ms >= began_ms,
                    // Two workers that share a connection may change the order of what one host sent.
                    Why::Unfinished => self.bad_weather_ms >= began_ms || !self.is_spread_by_flow,
                    // What goes with a FIN is sent again after a minute: lost twice, it is later than the cloud's tcp_fin_s.
                    Why::Late => {
                        transfer.end == End::ServerFirst
                            && self.bad_weather_ms >= began_ms
                            && !self.plan.are_patient(tenants)
                    }
                };
                if !is_excused && !is_known {
                    return self.fail(format!("{why:?}, and nobody knows why: {transfer:?}"));
                }
                1
            }
        };
        self.report.transfers[at] += 1;
        Ok(())
    }

    pub(super) fn judge_questions(&mut self) -> Result<(), Failure> {
        let overloads = self.node.overloads();
        if overloads != self.overloads {
            self.overloads = overloads;
            self.disturb(ALL, [true, false], self.now_ms);
        }
        while let Some(query) = self.queries.pop(self.now_ms) {
            let is_answered = query.is_answered;
            if !is_answered && !query.is_lost && !self.is_excused(0, query.tenants, query.asked_ms) {
                return self.fail(format!("nobody knows why this was not answered: {query:?}"));
            }
            self.report.questions[usize::from(!is_answered)] += 1;
        }
        Ok(())
    }

    /// What was counted on the way agrees.
    pub(super) fn check_books(&mut self) -> Result<(), Failure> {
        let (in_queues, in_rings) = self.node.queued();
        let books = self.node.crew.books();
        if books.received + in_queues != self.node.arrived {
            return self.fail(format!("{} frames came, {in_queues} wait: {books:?}", self.node.arrived));
        }
        let closed = invariants::books(&books, in_rings);
        closed.or_else(|what| self.fail(what))?;
        if (in_queues, in_rings, books.held) == (0, 0, 0) && self.transit.len() > 1_024 {
            self.transit.forget();
        }
        Ok(())
    }

    /// Looks at all that is remembered.
    pub(super) fn count(&mut self) -> Result<(), Failure> {
        self.check_books()?;
        let now = self.node.now(self.now_ms);
        let sessions = invariants::sessions(self.node.crew.gateways(), now);
        let right = invariants::endpoints(&sessions)
            .and_then(|()| invariants::mappings(&self.node.crew.rules, &sessions))
            .and_then(|()| invariants::ports(&self.node.crew.state, &self.node.crew.rules, &sessions));
        right.or_else(|what| self.fail(what))
    }
}
