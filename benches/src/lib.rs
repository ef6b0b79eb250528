//! What the benches share: a cloud's gateway with a thousand routers, buffers that go round, and the machine's own noise.

pub mod bench;
pub mod machine;
pub mod memory;
pub mod scene;
