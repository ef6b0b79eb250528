//! What an mbuf allows, and that none is lost.

use std::panic::{self, AssertUnwindSafe};

use dpdk::{HEADROOM, Mempool, MempoolConfig};
use packet::{Frame, NoRoom, PacketIo, PortIndex};

use crate::{config, edge, frame, in_own_process, pattern, pool, receive};

#[test]
fn a_fresh_frame_is_empty_and_has_headroom() {
    in_own_process("frames::a_fresh_frame_is_empty_and_has_headroom", || {
        let eal = dpdk::Eal::init(&config(&[])).unwrap();
        let frame = pool(&eal).allocate().unwrap();
        assert!(frame.bytes().is_empty());
        assert_eq!((frame.headroom(), frame.tailroom()), (HEADROOM.into(), 2048));
    });
}

#[test]
fn a_frame_grows_and_shrinks_within_its_buffer_only() {
    in_own_process("frames::a_frame_grows_and_shrinks_within_its_buffer_only", || {
        let eal = dpdk::Eal::init(&config(&[])).unwrap();
        let mut frame = pool(&eal).allocate().unwrap();

        assert_eq!(frame.resize(2049), Err(NoRoom));
        assert_eq!(frame.resize(usize::MAX), Err(NoRoom));
        assert_eq!(frame.resize(65536 + 10), Err(NoRoom), "a length is not cut to 16 bits");
        frame.resize(2048).unwrap();
        frame.bytes_mut().copy_from_slice(&pattern(1, 2048));

        frame.grow_front(128).unwrap();
        assert_eq!(frame.bytes().len(), 2176);
        assert_eq!(&frame.bytes()[128..], pattern(1, 2048));
        assert_eq!(frame.grow_front(1), Err(NoRoom));
        assert_eq!(frame.grow_front(65536), Err(NoRoom), "a count is not cut to 16 bits");
        assert_eq!(frame.bytes().len(), 2176, "a refusal changes nothing");

        frame.shrink_front(130);
        assert_eq!(frame.bytes(), &pattern(1, 2048)[2..]);
        frame.resize(100).unwrap();
        assert_eq!(frame.bytes(), &pattern(1, 2048)[2..102]);
        frame.shrink_front(100);
        assert!(frame.bytes().is_empty());
        assert_eq!(frame.headroom() + frame.tailroom(), 2176);
    });
}

#[test]
fn a_frame_cannot_lose_more_than_it_has() {
    in_own_process("frames::a_frame_cannot_lose_more_than_it_has", || {
        let eal = dpdk::Eal::init(&config(&[])).unwrap();
        let mut frame = pool(&eal).allocate().unwrap();
        frame.resize(14).unwrap();
        assert!(panic::catch_unwind(AssertUnwindSafe(|| frame.shrink_front(15))).is_err());
        assert_eq!((frame.bytes().len(), frame.headroom()), (14, HEADROOM.into()));
    });
}

#[test]
fn every_mbuf_comes_back() {
    in_own_process("frames::every_mbuf_comes_back", || {
        let (eal, pool, _ports, mut io) = edge(&["net_ring0"]);
        let _lcore = eal.register_this_thread(dpdk::cores::allowed().unwrap()[0]).unwrap();
        let before = pool.available();
        for round in 0..200 {
            for number in 0..32 {
                let frame = frame(&mut io, &pattern(round + number, 60));
                io.send(PortIndex(0), frame);
            }
            assert_eq!(io.flush(PortIndex(0)).frames, 32);
            assert_eq!(pool.available(), before - 32);
            assert_eq!(receive(&mut io, PortIndex(0), 32).len(), 32);
        }
        assert_eq!(pool.available(), before);
    });
}

#[test]
fn an_empty_pool_gives_none_and_recovers() {
    in_own_process("frames::an_empty_pool_gives_none_and_recovers", || {
        let eal = dpdk::Eal::init(&config(&[])).unwrap();
        let pool = eal.mempool(&MempoolConfig { frames: 63, ..MempoolConfig::default() }).unwrap();
        let all: Vec<_> = std::iter::from_fn(|| Mempool::allocate(&pool)).collect();
        assert_eq!((all.len(), pool.available()), (63, 0));
        drop(all);
        assert_eq!(pool.available(), pool.frames());
    });
}
