use std::io::Read;
use std::sync::mpsc;
use std::time::Instant;

use packet::BURST_FRAMES_MAX;

use super::*;
use crate::idle::Parked;

const ZERO: WorkerIndex = WorkerIndex(0);
const ONE: WorkerIndex = WorkerIndex(1);

/// Longer than any test takes that works.
const FOR_EVER: Duration = Duration::from_secs(30);

fn pair<T: Send>() -> (Exchange<T>, Exchange<T>) {
    let mut ends = Exchange::between(2);
    let one = ends.pop().unwrap();
    (ends.pop().unwrap(), one)
}

fn take_all<T: Send>(exchange: &mut Exchange<T>) -> Vec<T> {
    std::iter::from_fn(|| Some(exchange.take()).filter(|some| !some.is_empty())).flatten().collect()
}

#[test]
fn what_is_put_in_arrives_in_order_and_what_finds_no_room_comes_back() {
    let (mut zero, mut one) = pair();
    let put = (0..).take_while(|value| zero.put(ONE, *value).is_ok()).count();
    assert_eq!(put, RING_FRAMES_MAX);
    assert_eq!(zero.put(ONE, 7), Err(7));
    assert_eq!(take_all(&mut one), (0..RING_FRAMES_MAX).collect::<Vec<_>>());
    assert_eq!(zero.put(ONE, 7), Ok(()));
}

#[test]
fn there_is_no_way_to_oneself_or_to_nobody() {
    let (mut zero, _one) = pair();
    assert_eq!(zero.put(ZERO, 1), Err(1));
    assert_eq!(zero.put(WorkerIndex(2), 1), Err(1));
    assert!(Exchange::<u8>::between(1)[0].take().is_empty());
}

#[test]
fn each_of_many_hears_every_other() {
    let mut ends = Exchange::between(5);
    for (from, end) in ends.iter_mut().enumerate() {
        for to in (0..5).filter(|to| *to != from) {
            end.put(WorkerIndex(to as u8), (from, to)).unwrap();
        }
    }
    for (me, end) in ends.iter_mut().enumerate() {
        let expected: Vec<_> = (0..5).filter(|from| *from != me).map(|from| (from, me)).collect();
        assert_eq!(take_all(end), expected);
    }
}

#[test]
fn a_turn_takes_one_burst_however_many_hand_on_and_everybody_has_a_turn() {
    const OTHERS: usize = 4;
    let mut ends = Exchange::between(1 + OTHERS);
    for (from, end) in ends.iter_mut().enumerate().skip(1) {
        (0..100).for_each(|number| end.put(ZERO, (from, number)).unwrap());
    }
    let mut taken = [0; OTHERS + 1];
    for turn in 1..=OTHERS * 100_usize.div_ceil(BURST_FRAMES_MAX) {
        let burst = ends[0].take();
        assert!(turn > OTHERS * 100 / BURST_FRAMES_MAX || burst.len() == BURST_FRAMES_MAX, "{turn}");
        for (from, number) in burst {
            assert_eq!(number, taken[from], "in order");
            taken[from] += 1;
        }
        if turn % OTHERS == 0 {
            assert!(taken[1..].iter().all(|taken| *taken >= (turn / OTHERS * BURST_FRAMES_MAX).min(100)));
        }
    }
    assert_eq!(taken[1..], [100; OTHERS]);
}

#[test]
fn nobody_sleeps_while_there_is_something_to_take() {
    let (mut zero, mut one) = pair();
    zero.put(ONE, 1).unwrap();
    let start = Instant::now();
    one.sleep(FOR_EVER, &mut Parked);
    assert!(start.elapsed() < FOR_EVER);
}

#[test]
fn an_alarm_rings_for_a_sleeper_that_has_one() {
    struct Waits(std::fs::File, mpsc::Sender<()>);
    impl Sleep for Waits {
        fn sleep(&mut self, _: Duration) {
            self.1.send(()).unwrap();
            // Eight bytes, as an eventfd's.
            self.0.read_exact(&mut [0; 8]).unwrap();
        }
    }
    let (mut zero, mut one) = pair();
    let (reader, writer) = std::io::pipe().unwrap();
    one.wake_by(writer.into());
    one.take_seat();
    let (asleep, sleeps) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        one.sleep(FOR_EVER, &mut Waits(std::os::fd::OwnedFd::from(reader).into(), asleep));
        take_all(&mut one)
    });
    sleeps.recv().unwrap();
    zero.put(ONE, 7).unwrap();
    zero.wake();
    assert_eq!(sleeper.join().unwrap(), [7]);
}

#[test]
fn whoever_sleeps_is_woken_each_time() {
    const ROUNDS: u32 = 20_000;
    let (mut zero, mut one) = pair::<u32>();
    // Each sleeps until the other has said the next number: a wake-up that were lost would cost half a minute.
    let say_and_sleep = |me: &mut Exchange<u32>, other: WorkerIndex, first: bool| {
        me.take_seat();
        let mut next = 0;
        if first {
            me.put(other, next).unwrap();
            me.wake();
        }
        while next < ROUNDS {
            match take_all(me).last() {
                Some(said) => {
                    next = said + 1;
                    me.put(other, next).unwrap();
                    me.wake();
                }
                None => me.sleep(FOR_EVER, &mut Parked),
            }
        }
    };
    let start = Instant::now();
    let other = thread::spawn(move || say_and_sleep(&mut one, ZERO, false));
    say_and_sleep(&mut zero, ONE, true);
    other.join().unwrap();
    assert!(start.elapsed() < FOR_EVER, "a wake-up was lost");
}

#[test]
fn it_is_over_when_all_have_left_and_nothing_is_under_way() {
    let (mut zero, mut one) = pair();
    zero.put(ONE, 1).unwrap();
    zero.leave();
    assert!(!zero.is_over(), "the other has not left");
    one.leave();
    assert!(!zero.is_over(), "something is in a ring");
    assert_eq!(take_all(&mut one), [1]);
    assert!(!zero.is_over(), "something is in someone's hands");
    one.put(ZERO, 2).unwrap();
    one.settle();
    assert!(!one.is_over(), "which has gone back into a ring");
    assert_eq!(take_all(&mut zero), [2]);
    zero.settle();
    assert!(zero.is_over() && one.is_over());
}

#[test]
fn a_put_that_found_no_room_is_not_under_way() {
    let (mut zero, mut one) = pair();
    while zero.put(ONE, 1).is_ok() {}
    zero.leave();
    one.leave();
    take_all(&mut one);
    one.settle();
    assert!(zero.is_over());
}

#[test]
fn nothing_is_left_behind_by_those_who_leave_together() {
    const WORKERS: usize = 4;
    const VALUES: usize = 2_000;
    for round in 0..20 {
        let ends = Exchange::<(usize, u32)>::between(WORKERS);
        let threads = ends.into_iter().enumerate().map(|(me, mut end)| {
            thread::spawn(move || {
                let next = |value: usize, hops: u32| {
                    WorkerIndex(
                        ((me + 1 + (value * 7 + hops as usize * 3 + round) % (WORKERS - 1)) % WORKERS) as u8,
                    )
                };
                let mut arrived = 0;
                let mut turn = |end: &mut Exchange<(usize, u32)>| {
                    for (value, hops) in take_all(end) {
                        // What finds no room arrives where it is, as it would be dropped.
                        if hops == 0 || end.put(next(value, hops), (value, hops - 1)).is_err() {
                            arrived += 1;
                        }
                    }
                    end.settle();
                };
                for value in 0..VALUES {
                    while end.put(next(value, 9), (value, value as u32 % 4)).is_err() {
                        turn(&mut end);
                    }
                    turn(&mut end);
                }
                end.leave();
                while !end.is_over() {
                    turn(&mut end);
                    thread::yield_now();
                }
                arrived
            })
        });
        let threads: Vec<_> = threads.collect();
        let arrived: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert_eq!(arrived, WORKERS * VALUES, "round {round}");
    }
}
