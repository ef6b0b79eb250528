//! What the benches share: a cloud's gateway with a thousand routers, buffers that go round, the machine's own noise, and
//! what becomes of figures.

pub mod bench;
pub mod floor;
pub mod goals;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod plain;
pub mod plots;
pub mod results;
pub mod scene;
pub mod traffic;
pub mod worker;
