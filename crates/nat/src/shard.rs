//! A shard: the role of the owner of some hosts' state. It alone opens, closes and expires.
//!
//! ```text
//! open    intent | host, port, mapping, permission taken | session inserted | intent cleared
//! close   intent | session removed | permission, mapping, port, host given back | intent cleared
//! ```
//!
//! What is half-done when the process ends is named by the shard's intent: the next one counts again what it names.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use flowtable::{InsertError, LineIndex, Owner, Place, SWEEP_DUE_MAX, ShardIndex, SlotIndex};
use rules::RuleSet;
use rules::compiled::{IdleReset, PoolIndex, PoolRules, RouterRules};

use crate::counters::Counters;
use crate::flow::Flow;
use crate::idle_reset::Idle;
use crate::mappings::{Foresight, Holds, Mappings, Taken};
use crate::random::Random;
use crate::sessions::{INBOUND, Line, OUTBOUND, is_allowed};
use crate::state::State;
use crate::tcp::{Phase, Seen};
use crate::timers::{first_phase, timeout_ms};
use crate::{DropReason, time};

/// How often an opening begins anew because a session of earlier rules was in its way.
const LEFT_OVERS_MAX: usize = 2;

/// How long a connection that rules cut off keeps its port after its remote was last heard.
//= rfc6888#REQ-8
const CUT_OFF_RESTS_MS: u32 = 120_000;

/// See the file's page. Owned by one gateway at a time.
pub struct Shard {
    pub(crate) state: Arc<State>,
    pub(crate) sessions: Owner<Flow, Line, 2>,
    pub(crate) mappings: Mappings,
    index: ShardIndex,
    sweep: time::Sweep,
}

/// What a session is opened under.
pub(crate) struct Terms<'a> {
    pub(crate) rules: &'a RuleSet,
    /// Its host's.
    pub(crate) router: &'a RouterRules,
    /// Where it is counted.
    pub(crate) counters: &'a Counters,
    pub(crate) now_ms: u32,
}

/// By which mapping a session is opened.
#[derive(Clone, Copy)]
enum By<'a> {
    /// One that is there.
    This(SlotIndex),
    /// The flow's own, or none: of which so much is known.
    ItsOwn(&'a Foresight),
}

/// What stands in the way of a session.
enum Obstacle {
    Refused(DropReason),
    /// A session left over from rules that gave this external endpoint to someone else: its next packet would close it.
    LeftOver(LineIndex),
}

impl From<DropReason> for Obstacle {
    fn from(reason: DropReason) -> Self {
        Self::Refused(reason)
    }
}

impl Shard {
    pub(crate) fn new(state: &Arc<State>, index: ShardIndex, seed: [u64; 2]) -> Self {
        let quiescence = &state.in_process.quiescence;
        Self {
            sessions: state.parts.sessions.owner(index, quiescence),
            mappings: Mappings::new(state, index, Random::new(seed, index.0)),
            state: Arc::clone(state),
            index,
            sweep: time::Sweep::default(),
        }
    }

    /// Which one it is.
    pub fn index(&self) -> ShardIndex {
        self.index
    }

    /// Opens a session for `flow`, which is in its internal realm, and returns its outbound line.
    pub(crate) fn open_outbound(
        &mut self,
        flow: &Flow,
        pool: PoolIndex,
        foresight: &Foresight,
        terms: &Terms,
    ) -> Result<LineIndex, DropReason> {
        let slot = self.open(flow, By::ItsOwn(foresight), pool, terms)?;
        Ok(self.state.parts.sessions.line_of(slot, OUTBOUND))
    }

    /// Opens a session for `flow`, which comes from outside, where a mapping and its filter let it in, and returns its
    /// inbound line.
    pub(crate) fn open_inbound(
        &mut self,
        flow: &Flow,
        rules: &RuleSet,
        counters: &Counters,
        now_ms: u32,
    ) -> Result<LineIndex, DropReason> {
        let allowing = |inside: &Flow| {
            let router = &rules.routers[rules.router_of(inside.realm())?.0 as usize];
            let pool = router.gateway_into(flow.realm())?.pool?;
            is_allowed(inside, flow, Holds::MAPPING, router, rules).then_some((router, pool))
        };
        let filtering = |inside: &Flow| {
            let (_, pool) = allowing(inside)?;
            let pool = &rules.pools[pool.0 as usize];
            Some(pool.behaviour(inside.protocol(), inside.destination().port).filtering)
        };
        let (mapping, inside) = self.mappings.admit(flow, filtering)?;
        let (router, pool) = allowing(&inside).ok_or(DropReason::NoMapping)?;
        let slot = self.open(&inside, By::This(mapping), pool, &Terms { rules, router, counters, now_ms })?;
        Ok(self.state.parts.sessions.line_of(slot, INBOUND))
    }

    /// Opens a session whose external endpoint is a forwarding's, between an internal flow and its answers from outside, and
    /// returns the line of a side.
    pub(crate) fn open_forwarded(
        &mut self,
        [internal, outside]: [Flow; 2],
        side: usize,
        terms: &Terms,
    ) -> Result<LineIndex, DropReason> {
        let taken = Taken { outside, holds: Holds::empty(), mapping: 0, spoken: side == OUTBOUND };
        if !is_allowed(&internal, &outside, taken.holds, terms.router, terms.rules) {
            return Err(DropReason::NoMapping);
        }
        // The same endpoints may speak through another of N ports that lead to one.
        let stays = |shard: &Self, line| {
            let stays = shard.state.stands(line, terms.rules, terms.now_ms) && !shard.is_over(line);
            stays.then_some(DropReason::ForwardingTaken)
        };
        let slot = self.open_anew(terms, stays, |shard| {
            shard.mappings.intent().begin(&internal, &outside);
            let inserted = shard.insert(&internal, &taken, None, terms);
            shard.mappings.intent().clear();
            inserted
        })?;
        Ok(self.state.parts.sessions.line_of(slot, side))
    }

    /// Opens a session for an internal flow, translated to a pool of its router's: by this mapping, or else by its own.
    fn open(
        &mut self,
        internal: &Flow,
        by: By,
        pool: PoolIndex,
        terms: &Terms,
    ) -> Result<SlotIndex, DropReason> {
        let pool = &terms.rules.pools[pool.0 as usize];
        // The host may speak with this remote by another mapping, of other rules: nobody outside ends that.
        let stays = |shard: &Self, line| {
            let stays = matches!(by, By::This(_)) && shard.state.stands(line, terms.rules, terms.now_ms);
            stays.then_some(DropReason::Filtered)
        };
        self.open_anew(terms, stays, |shard| shard.open_once(internal, by, pool, terms))
    }

    /// Opens a session as often as one of earlier rules is in its way, and closes that, unless it `stays` for a reason.
    #[inline]
    fn open_anew(
        &mut self,
        terms: &Terms,
        stays: impl Fn(&Self, LineIndex) -> Option<DropReason>,
        mut open: impl FnMut(&mut Self) -> Result<SlotIndex, Obstacle>,
    ) -> Result<SlotIndex, DropReason> {
        for _ in 0..=LEFT_OVERS_MAX {
            match open(self) {
                Ok(slot) => {
                    terms.counters.sessions_created.add(1);
                    return Ok(slot);
                }
                Err(Obstacle::LeftOver(line)) => match stays(self, line) {
                    Some(reason) => return Err(reason),
                    None => self.close_line(line, terms.counters, terms.now_ms),
                },
                Err(Obstacle::Refused(DropReason::TableFull)) if self.is_alone_full() => {
                    return Err(DropReason::ShardFull);
                }
                Err(Obstacle::Refused(reason)) => return Err(reason),
            }
        }
        Err(DropReason::TableFull)
    }

    /// Takes what a session of the flow needs, and inserts it. On its own: what it reads first would else be read, and kept on
    /// the stack, before it is known how often it is done, which is once.
    #[inline(never)]
    fn open_once(
        &mut self,
        internal: &Flow,
        by: By,
        pool: &PoolRules,
        terms: &Terms,
    ) -> Result<SlotIndex, Obstacle> {
        let (taken, places) = match by {
            By::This(mapping) => (self.mappings.acquire_by(mapping, internal, pool), None),
            By::ItsOwn(foresight) => {
                let taken = self.mappings.acquire(internal, pool, foresight, terms.now_ms);
                let places = taken.as_ref().ok().and_then(|taken| foresight.session(&taken.outside));
                (taken, places)
            }
        };
        let inserted =
            taken.map_err(Obstacle::from).and_then(|taken| self.insert(internal, &taken, places, terms));
        self.mappings.intent().clear();
        inserted
    }

    /// Whether a session whose time is up is a connection that neither side has ended, and the rules want both told.
    fn ends_by_resets(&self, slot: SlotIndex, router: &RouterRules) -> bool {
        router.tcp.idle_reset == IdleReset::BothNow
            && matches!(self.state.phase(slot), Phase::TcpEstablished | Phase::TcpClosing)
    }

    fn is_over(&self, line: LineIndex) -> bool {
        let phase = self.state.phase(self.state.parts.sessions.slot_of(line));
        matches!(phase, Phase::TcpTimeWait | Phase::TcpReset)
    }

    /// Whether, where this shard's tables are full, there is room in others'.
    fn is_alone_full(&self) -> bool {
        let sessions = &self.state.parts.sessions;
        sessions.len() < sessions.slots_max()
    }

    /// Inserts a session; where it is found by its flow and by that of its answers may be known.
    fn insert(
        &mut self,
        internal: &Flow,
        taken: &Taken,
        places: Option<&[Place; 2]>,
        &Terms { router, now_ms, .. }: &Terms,
    ) -> Result<SlotIndex, Obstacle> {
        let Taken { outside, holds, mapping, spoken } = *taken;
        let (external, realm, generation) = (outside.destination(), outside.realm(), router.generation);
        let timeout_ms = timeout_ms(first_phase(internal.protocol()), internal, router);
        let keys = [*internal, outside];
        let sessions = &self.state.parts.sessions;
        let found;
        let places = match places {
            Some(places) => places,
            None => {
                found = keys.each_ref().map(|key| sessions.ask(sessions.place(self.index, key)));
                &found
            }
        };
        let inserted =
            self.sessions.insert_at(&keys, places, now_ms.wrapping_add(timeout_ms), |[outbound, inbound]| {
                let seen = if spoken { Seen::SPOKEN } else { Seen::empty() };
                outbound.fill(external, realm, holds, generation, seen, now_ms);
                outbound.created_ms().store(now_ms, Relaxed);
                let inside = internal.source();
                inbound.fill(inside, internal.realm(), holds, generation, Seen::empty(), now_ms);
                inbound.mapping().store(mapping, Relaxed);
            });
        self.mappings.settle(taken);
        inserted.map_err(|error| {
            self.mappings.release(internal, taken, now_ms);
            match error {
                InsertError::Duplicate(line) => Obstacle::LeftOver(line),
                _ => DropReason::TableFull.into(),
            }
        })
    }

    /// Closes the line's session at once.
    pub(crate) fn close_line(&mut self, line: LineIndex, counters: &Counters, now_ms: u32) {
        self.close(self.state.parts.sessions.slot_of(line), counters, now_ms);
    }

    /// Ends the line's session, which the rules no longer allow. The remote of a connection does not know, and sends on: until it
    /// has been silent for a while, nobody else gets the port towards it. Rules that allow it again have it go on.
    //= rfc6888#REQ-8
    pub(crate) fn cut_off(&mut self, line: LineIndex, rules: &RuleSet, counters: &Counters, now_ms: u32) {
        let slot = self.state.parts.sessions.slot_of(line);
        let rests_until_ms = now_ms.wrapping_add(CUT_OFF_RESTS_MS);
        let end_ms = self.state.router_of_line(line, rules).map(|router| self.state.end_ms(slot, router));
        match (self.state.phase(slot), end_ms) {
            (Phase::TcpEstablished | Phase::TcpClosing, Some(end_ms)) if !time::has_come(end_ms, now_ms) => {
                let is_nearer = time::has_come(end_ms, rests_until_ms);
                self.sessions.set_deadline(slot, if is_nearer { end_ms } else { rests_until_ms });
            }
            _ => self.close(slot, counters, now_ms),
        }
    }

    fn close(&mut self, slot: SlotIndex, counters: &Counters, now_ms: u32) {
        let ([internal, outside], taken) = (self.state.keys(slot), self.state.taken(slot));
        self.mappings.intent().begin(&internal, &outside);
        self.sessions.remove(slot);
        self.mappings.release(&internal, &taken, now_ms);
        self.mappings.intent().clear();
        counters.sessions_closed.add(1);
    }

    /// The host inside has sent by a session that was opened from outside. Where there is no room for what that gives its
    /// remote, the next packet asks again.
    pub(crate) fn speak(&mut self, line: LineIndex, now_ms: u32) {
        let slot = self.state.parts.sessions.slot_of(line);
        let ([internal, outside], taken) = (self.state.keys(slot), self.state.taken(slot));
        self.mappings.intent().begin(&internal, &outside);
        if self.mappings.speak(&taken, now_ms).is_ok() {
            self.state.parts.sessions.value(line).note_spoken();
        }
        self.mappings.intent().clear();
    }

    /// Sets when a session ends, by its phase now: after a segment that brings the end nearer was noted, or under other rules
    /// that do. A longer time is found when the shorter has come.
    pub(crate) fn set_deadline(&mut self, line: LineIndex, rules: &RuleSet) {
        if let Some(router) = self.state.router_of_line(line, rules) {
            let slot = self.state.parts.sessions.slot_of(line);
            self.sessions.set_deadline(slot, self.state.end_ms(slot, router));
        }
    }

    /// Asks for the memory that the ends of sessions touch, a stage at a time for all of them, as that is done where flows begin
    /// (`established/openings.rs`).
    fn foresee_ends(&self, due: &[SlotIndex]) {
        let sessions = &self.state.parts.sessions;
        let lines = due.iter().flat_map(|slot| [OUTBOUND, INBOUND].map(|side| sessions.line_of(*slot, side)));
        lines.for_each(|line| sessions.prefetch_line(line));
        let ask = |slot: &SlotIndex| {
            self.state.keys(*slot).iter().for_each(|key| _ = sessions.ask(sessions.place(self.index, key)));
            self.mappings.ask_taken(&self.state.taken(*slot))
        };
        let asked: ArrayVec<_, SWEEP_DUE_MAX> = due.iter().map(ask).collect();
        asked.iter().for_each(|asked| self.mappings.guess_taken(asked));
    }

    /// Closes sessions whose time is up, ends hold-downs that are over, and frees what every worker has let go of: a bounded
    /// number of each.
    ///
    /// A connection that ends by resets to both sides goes to `idle` and lives for another moment; where there is no room
    /// left, it is looked at again with the next sweep. Returns how many were due.
    pub(crate) fn expire(
        &mut self,
        rules: &RuleSet,
        counters: &Counters,
        now_ms: u32,
        idle: &mut Idle,
    ) -> usize {
        let mut due = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        let slots = self.sweep.slots(now_ms, self.state.parts.sessions.slots_per_shard());
        self.sessions.sweep(now_ms, slots, &mut due);
        self.foresee_ends(&due);
        for slot in &due {
            let slot = *slot;
            let [internal, _] = self.state.keys(slot);
            let router = rules.router_of(internal.realm()).map(|router| &rules.routers[router.0 as usize]);
            let end_ms = router.map(|router| self.state.end_ms(slot, router));
            match (end_ms, router) {
                (Some(end_ms), _) if !time::has_come(end_ms, now_ms) => {
                    let line = self.state.parts.sessions.line_of(slot, OUTBOUND);
                    if self.state.stands(line, rules, now_ms) {
                        self.sessions.set_deadline(slot, end_ms);
                    } else {
                        self.close(slot, counters, now_ms);
                    }
                }
                (_, Some(router)) if self.ends_by_resets(slot, router) => {
                    if idle.try_push(slot).is_ok() {
                        self.state.mark_reset(slot, now_ms);
                        self.sessions.set_deadline(slot, self.state.end_ms(slot, router));
                    }
                }
                _ => self.close(slot, counters, now_ms),
            }
        }
        let mappings = self.mappings.expire(now_ms);
        self.sessions.reclaim();
        due.len() + mappings
    }
}
