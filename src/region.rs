//! Where flow state lies, in which pages, and its opening.
//!
//! Where the configuration names no `region`, it is looked for, and else made, in this order: hugetlbfs under `/dev`, larger
//! pages first, if it has room beside packet memory; then `/dev/shm`, whose pages the kernel puts together to huge ones. All of
//! these outlive the process and not the machine's uptime, as does the clock of the flow state.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use control::rows::RegionRow;
use nat::{HugePages, OpenError, Pages, Shard, State, Takeover};

use crate::config::{HugepagesConfig, NodeConfig};

/// Flow state as it was opened.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) state: Arc<State>,
    pub(crate) shards: Vec<Shard>,
    pub(crate) takeover: Takeover,
    /// Worth telling the operator, at the start and in `status`.
    pub(crate) warnings: Vec<String>,
}

/// The flow state, as an earlier process left it or anew.
pub(crate) fn open(config: &NodeConfig) -> anyhow::Result<Opened> {
    let mut seed = config.seed.unwrap_or_default();
    if config.seed.is_none() {
        for word in &mut seed {
            *word = getrandom::u64().context("the system gives no random numbers")?;
        }
    }
    let mut places = places(config);
    let huge_pages = match config.hugepages {
        HugepagesConfig::Off => HugePages::NotAsked,
        HugepagesConfig::Auto | HugepagesConfig::Required => HugePages::Wanted,
    };
    // All workers use all of it: a part of it is near each.
    let nodes: Vec<_> = config.workers.iter().map(|core| dpdk::numa::node_of_core(*core)).collect();
    let nodes = crate::numa::nodes(&nodes);
    let (path, opened) = loop {
        let path = places.remove(0);
        let is_new = !path.exists();
        make_directory(path.parent())?;
        let open = || State::open(&path, &config.sizes(), seed, worker::clock::moment(), huge_pages);
        let opened = match &nodes[..] {
            [] => open(),
            nodes => {
                let (opened, placed) = dpdk::numa::on_nodes(nodes, open);
                if let (Err(error), [_, _, ..]) = (placed, nodes) {
                    tracing::warn!("flow state is not spread over the workers' NUMA nodes: {error}");
                }
                opened
            }
        };
        match opened {
            // A file system that looked as if it had room.
            Err(error @ OpenError::Io { .. }) if is_new && !places.is_empty() => {
                tracing::warn!("no flow state there: {error}");
                let _ = fs::remove_file(&path);
            }
            opened => break (path, opened),
        }
    };
    let (state, shards, takeover) = opened.context("the region cannot be opened")?;
    tracing::info!(region = %path.display(), "{takeover}");
    let warnings = match complaint(takeover.pages) {
        Some(complaint) if config.hugepages == HugepagesConfig::Required => {
            anyhow::bail!("hugepages are required, but {complaint} ({})", path.display())
        }
        Some(complaint) if config.hugepages == HugepagesConfig::Auto => {
            vec![format!("{complaint}, which costs speed")]
        }
        _ => Vec::new(),
    };
    Ok(Opened { path, state, shards, takeover, warnings })
}

/// What is wrong with the pages, as a part of a sentence.
fn complaint(pages: Option<Pages>) -> Option<String> {
    match pages {
        Some(pages) if pages.are_huge() => None,
        Some(pages) => Some(format!("flow state lies in {pages}")),
        None => Some("the kernel does not tell which pages flow state lies in".to_owned()),
    }
}

/// What the admin socket tells of it.
pub(crate) fn row(path: &Path, takeover: &Takeover) -> RegionRow {
    let pages = takeover.pages.unwrap_or_default();
    RegionRow {
        path: path.display().to_string(),
        kib: pages.kib,
        huge_kib: pages.huge_kib,
        page_kib: pages.page_kib,
        pages: takeover.pages.map(|pages| pages.to_string()).unwrap_or_default(),
        taken_over: takeover.fresh.is_none(),
        sessions_kept: takeover.sessions_kept.into(),
        sessions_dropped: takeover.sessions_dropped.into(),
        message: takeover.to_string(),
    }
}

pub(crate) fn make_directory(path: Option<&Path>) -> anyhow::Result<()> {
    match path {
        Some(path) => {
            fs::create_dir_all(path).with_context(|| format!("cannot make the directory {}", path.display()))
        }
        None => Ok(()),
    }
}

/// Where to open the region, the best place first.
fn places(config: &NodeConfig) -> Vec<PathBuf> {
    if let Some(path) = &config.region {
        return vec![path.clone()];
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let file = format!("natgate-{}", config.node);
    let on_hugetlbfs = mounts_of_hugetlbfs(&mounts).into_iter().map(|(page_kib, directory)| Place {
        path: directory.join(&file),
        page_kib,
        free_kib: dpdk::hugepages::free_kib(page_kib),
    });
    let wanted = Wanted {
        region_kib: config.sizes().bytes().div_ceil(1024),
        packets_kib: u64::from(config.memory_mib) << 10,
        huge: config.hugepages != HugepagesConfig::Off,
    };
    in_order(on_hugetlbfs.collect(), Path::new("/dev/shm").join(&file), &wanted, |path| path.exists())
}

/// A file on hugetlbfs, and what its file system has.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    page_kib: u64,
    free_kib: u64,
}

/// What there has to be room for.
struct Wanted {
    region_kib: u64,
    packets_kib: u64,
    huge: bool,
}

/// Places for a region, the best first; one alone where a region is there already.
fn in_order(
    mut hugetlbfs: Vec<Place>,
    shared_memory: PathBuf,
    wanted: &Wanted,
    exists: impl Fn(&Path) -> bool,
) -> Vec<PathBuf> {
    hugetlbfs.sort_by_key(|place| std::cmp::Reverse(place.page_kib));
    let all = hugetlbfs.iter().map(|place| &place.path).chain([&shared_memory]);
    if let Some(found) = all.clone().find(|path| exists(path)) {
        return vec![found.clone()];
    }
    let has_room = |place: &Place| {
        let region_kib = wanted.region_kib.next_multiple_of(place.page_kib);
        wanted.huge && place.free_kib >= region_kib + wanted.packets_kib
    };
    let roomy = hugetlbfs.iter().filter(|place| has_room(place)).map(|place| place.path.clone());
    roomy.chain([shared_memory.clone()]).collect()
}

/// The hugetlbfs under `/dev` in a list of mounts, each with its pages' size in KiB. Elsewhere they are other programs' own.
fn mounts_of_hugetlbfs(mounts: &str) -> Vec<(u64, PathBuf)> {
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (directory, kind, options) = (words.next()?, words.next()?, words.next()?);
        // `pagesize=2M`; a space in a path would be `\040`.
        let size = options.split(',').find_map(|option| option.strip_prefix("pagesize="))?;
        let (number, unit) = size.split_at_checked(size.len().checked_sub(1)?)?;
        let number: u64 = number.parse().ok()?;
        let kib = match unit {
            "K" => number,
            "M" => number << 10,
            "G" => number << 20,
            _ => return None,
        };
        let is_machines = directory.starts_with("/dev/") && !directory.contains('\\');
        (kind == "hugetlbfs" && kib > 0 && is_machines).then(|| (kib, directory.into()))
    };
    mounts.lines().filter_map(mount).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0
hugetlbfs /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0
none /dev/huge\\0401G hugetlbfs rw,pagesize=1024M 0 0
none /run/other/huge hugetlbfs rw,relatime,pagesize=2M 0 0
none /dev/hugepages1G hugetlbfs rw,relatime,mode=700,pagesize=1024M,size=4194304K 0 0
";

    #[test]
    fn hugetlbfs_is_found_among_the_mounts() {
        let found = mounts_of_hugetlbfs(MOUNTS);
        assert_eq!(found, [(2048, "/dev/hugepages".into()), (1 << 20, "/dev/hugepages1G".into())]);
    }

    fn order(free_kib: [u64; 2], huge: bool, there: &str) -> String {
        let place = |path: &str, page_kib, free_kib| Place { path: path.into(), page_kib, free_kib };
        let hugetlbfs = vec![place("2M", 2048, free_kib[0]), place("1G", 1 << 20, free_kib[1])];
        let wanted = Wanted { region_kib: 600 << 10, packets_kib: 256 << 10, huge };
        let places = in_order(hugetlbfs, "shm".into(), &wanted, |path| path == Path::new(there));
        places.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_region_that_is_there_is_gone_on_with_wherever_it_is() {
        for there in ["shm", "2M", "1G"] {
            assert_eq!(order([1 << 30; 2], true, there), there);
            assert_eq!(order([0; 2], false, there), there);
        }
    }

    #[test]
    fn a_new_region_goes_into_the_largest_pages_that_leave_room_for_packets() {
        assert_eq!(order([1 << 30; 2], true, ""), "1G 2M shm");
        assert_eq!(order([1 << 30; 2], false, ""), "shm");
        // A page of 1 GiB for the region, and packets beside it.
        assert_eq!(order([856 << 10, (1024 + 256) << 10], true, ""), "1G 2M shm");
        assert_eq!(order([(856 << 10) - 1, 1 << 20], true, ""), "shm");
    }

    #[test]
    fn ordinary_pages_are_complained_of() {
        let pages = |huge_kib| Some(Pages { kib: 8192, huge_kib, page_kib: 2048 });
        assert_eq!(complaint(pages(8192)), None);
        assert!(complaint(pages(4096)).unwrap().starts_with("flow state lies in pages of 2 MiB for 50 %"));
        assert!(complaint(None).is_some());
    }
}
