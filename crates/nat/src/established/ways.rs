//! How a packet of the express way goes on: by which leg, to whom; as far as that is known at a glance.

use flowtable::LineIndex;
use packet::tcp;
use rules::RuleSet;
use rules::compiled::NextHop;
use rules::legs::Exit;

use super::{Candidate, Translation, is_plainly_a_host};
use crate::sessions::{INBOUND, Line, OUTBOUND};
use crate::state::State;

/// How a packet goes on.
pub(super) struct Way<'a> {
    /// By which session; with a floating IP, by none.
    pub(super) session: Option<&'a Line>,
    pub(super) next_hop: NextHop,
    pub(super) exit: &'a Exit,
}

impl<'a> Way<'a> {
    /// The way of a candidate whose session has this line; `None` where that takes a longer look.
    #[inline]
    pub(super) fn of(
        rules: &'a RuleSet,
        state: &'a State,
        candidate: &Candidate,
        line: Option<LineIndex>,
    ) -> Option<Self> {
        match line {
            Some(line) => Self::by_session(rules, state, candidate, line),
            None => Self::by_floating_ip(rules, candidate),
        }
    }

    /// The line's generation is the rules', and what depends on the packet alone agrees.
    #[inline]
    fn by_session(
        rules: &'a RuleSet,
        state: &'a State,
        candidate: &Candidate,
        index: LineIndex,
    ) -> Option<Self> {
        let Candidate { plain, translation, .. } = candidate;
        let sessions = &state.parts.sessions;
        let line = sessions.value(index);
        let (side, generation, next_hop) = match *translation {
            Translation::Out(leg) => {
                let entry = rules.leg(leg)?;
                let next_hop = entry.plainly_out(plain.destination())?;
                let is_from_there = entry.is_plainly_a_hosts(plain.source());
                (OUTBOUND, entry.generation, Some(next_hop).filter(|_| is_from_there)?)
            }
            _ => {
                let inside = rules.inside(line.realm())?;
                let address = line.endpoint().address;
                let is_reached = rules.leg(inside.leg)?.is_plainly_reached(address);
                let next_hop = NextHop { interface: inside.leg, address };
                (INBOUND, inside.generation, Some(next_hop).filter(|_| is_reached)?)
            }
        };
        let exit = &rules.leg(next_hop.interface)?.exit;
        let agrees = line.is_of_generation(generation)
            && sessions.side_of(index) == side
            && State::is_established(line, side, plain)
            && plain.total_length <= exit.mtu
            && (side == INBOUND || !rules.is_own(exit, plain.destination()));
        agrees.then_some(Way { session: Some(line), next_hop, exit })
    }

    #[inline]
    fn by_floating_ip(rules: &'a RuleSet, candidate: &Candidate) -> Option<Self> {
        let plain = &candidate.plain;
        let (source, destination) = (plain.source(), plain.destination());
        let (exit, next_hop) = next_hop_by_floating_ip(rules, candidate)?;
        let agrees_outbound = match candidate.translation {
            Translation::FloatingOut(leg, _) => {
                rules.leg(leg)?.is_plainly_a_hosts(source)
                    && is_plainly_a_host(destination)
                    && !rules.is_own(exit, destination)
            }
            _ => true,
        };
        // The segment size that a SYN asks for may have to be lowered.
        let agrees = agrees_outbound
            && plain.total_length <= exit.mtu
            && plain.tcp_flags & tcp::SYN == 0
            && is_plainly_a_host(source);
        agrees.then_some(Way { session: None, next_hop, exit })
    }
}

/// Where a packet from or to a floating IP goes.
#[inline]
pub(super) fn next_hop_by_floating_ip<'a>(
    rules: &'a RuleSet,
    candidate: &Candidate,
) -> Option<(&'a Exit, NextHop)> {
    let next_hop = match candidate.translation {
        Translation::FloatingOut(leg, _) => rules.leg(leg)?.plainly_out(candidate.plain.destination())?,
        Translation::FloatingIn(leg, internal) => NextHop { interface: leg, address: internal },
        Translation::Out(_) | Translation::In(_) => return None,
    };
    Some((&rules.leg(next_hop.interface)?.exit, next_hop))
}
