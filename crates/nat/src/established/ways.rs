//! How a packet of the express way goes on: by which leg, to whom; as far as that is known at a glance.

use flowtable::LineIndex;
use packet::tcp;
use rules::RuleSet;
use rules::compiled::NextHop;
use rules::legs::Exit;

use super::news::News;
use super::{Candidate, Translation, is_plainly_a_host};
use crate::sessions::{INBOUND, Line, OUTBOUND};
use crate::shards::Shards;
use crate::state::State;

/// How a packet goes on.
pub(super) struct Way<'a> {
    /// By which session; with a floating IP, by none.
    pub(super) session: Option<&'a Line>,
    pub(super) next_hop: NextHop,
    pub(super) exit: &'a Exit,
    /// What it says of its connection that is to be noted.
    pub(super) news: Option<News<'a>>,
}

impl<'a> Way<'a> {
    /// The way of a candidate whose session has this line; `None` where that takes a longer look.
    #[inline]
    pub(super) fn of(
        rules: &'a RuleSet,
        state: &'a State,
        shards: &Shards,
        candidate: &Candidate,
        line: Option<LineIndex>,
        has_checksums: bool,
    ) -> Option<Self> {
        match line {
            Some(line) => Self::by_session(rules, state, shards, candidate, line, has_checksums),
            None => Self::by_floating_ip(rules, candidate),
        }
    }

    /// The line's generation is the rules', and what depends on the packet alone agrees.
    #[inline]
    fn by_session(
        rules: &'a RuleSet,
        state: &'a State,
        shards: &Shards,
        candidate: &Candidate,
        index: LineIndex,
        has_checksums: bool,
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
        // The first packet from outside may be asked whether its checksum is there.
        let is_heard = State::has_been_heard(line, side) || has_checksums && side == INBOUND;
        let agrees = line.is_of_generation(generation)
            && sessions.side_of(index) == side
            && is_heard
            && plain.total_length <= exit.mtu
            && (side == INBOUND || !rules.is_own(exit, plain.destination()));
        if !agrees {
            return None;
        }
        let news = match State::is_one_of_many(line, plain) {
            true => None,
            false => Some(News::of(rules, state, shards, candidate, index)?),
        };
        Some(Way { session: Some(line), next_hop, exit, news })
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
        agrees.then_some(Way { session: None, next_hop, exit, news: None })
    }
}

/// Where a packet from or to a floating IP goes.
#[inline]
fn next_hop_by_floating_ip<'a>(rules: &'a RuleSet, candidate: &Candidate) -> Option<(&'a Exit, NextHop)> {
    let next_hop = match candidate.translation {
        Translation::FloatingOut(leg, _) => rules.leg(leg)?.plainly_out(candidate.plain.destination())?,
        Translation::FloatingIn(leg, internal) => NextHop { interface: leg, address: internal },
        Translation::Out(_) | Translation::In(_) | Translation::Unknown => return None,
    };
    Some((&rules.leg(next_hop.interface)?.exit, next_hop))
}
