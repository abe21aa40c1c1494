//! How much memory this process may take: what the machine has, or less where its control group says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::span::Size;

/// What there is, and who says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Has {
    pub memory: Size,
    pub says: &'static str,
}

/// Looked at once: a limit that is changed later counts from the next start. `None` where there is no /proc.
pub fn has() -> Option<Has> {
    static HAS: OnceLock<Option<Has>> = OnceLock::new();
    *HAS.get_or_init(|| within(Path::new("/")))
}

fn within(root: &Path) -> Option<Has> {
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    let machine = total(&read(Path::new("proc/meminfo"))?)?;
    let groups = limits(&read(Path::new("proc/self/cgroup")).unwrap_or_default());
    // No limit is written "max", or as a number that no machine has.
    let limit = groups.iter().filter_map(|file| read(file)?.trim().parse().ok()).min().filter(|limit| *limit < machine);
    let (bytes, says) = limit.map_or((machine, "the machine"), |limit| (limit, "its control group"));
    Some(Has { memory: Size(bytes), says })
}

/// Bytes, of the line `MemTotal:       24689756 kB`.
fn total(meminfo: &str) -> Option<u64> {
    let kib: u64 =
        meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Files that may hold a limit: of each group of this process, and of all above it. Lines are `0::/path` in version 2 and
/// `N:memory:/path` in version 1; inside a container the path may lead out of what can be seen, and then the root is its own.
fn limits(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(number), Some(kinds), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (base, file) = match (number, kinds) {
            ("0", "") => ("sys/fs/cgroup", "memory.max"),
            (_, kinds) if kinds.split(',').any(|kind| kind == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let path = if inside { path } else { Path::new("") };
        files.extend(path.ancestors().map(|group| Path::new(base).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of these files.
    fn machine(files: &[(&str, &str)]) -> Option<(u64, &'static str)> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        within(root.path()).map(|has| (has.memory.0 >> 20, has.says))
    }

    #[test]
    fn the_narrowest_limit_of_machine_and_groups_counts() {
        let memory = ("proc/meminfo", "MemTotal:        8388608 kB\nMemFree:   1 kB\n");
        assert_eq!(machine(&[]), None);
        assert_eq!(machine(&[memory]), Some((8192, "the machine")));
        let (two, own) = (("proc/self/cgroup", "0::/a.slice/b.service\n"), "sys/fs/cgroup/a.slice/b.service/memory.max");
        assert_eq!(machine(&[memory, two, (own, "max\n")]), Some((8192, "the machine")));
        assert_eq!(machine(&[memory, two, (own, "1073741824\n")]), Some((1024, "its control group")));
        let above = ("sys/fs/cgroup/a.slice/memory.max", "536870912\n");
        assert_eq!(machine(&[memory, two, (own, "1073741824\n"), above]), Some((512, "its control group")));
        let root = ("sys/fs/cgroup/memory.max", "268435456\n");
        assert_eq!(machine(&[memory, ("proc/self/cgroup", "0::/../../x\n"), root]), Some((256, "its control group")));
        let one = ("proc/self/cgroup", "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n");
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(machine(&[memory, one, none]), Some((8192, "the machine")), "as version 1 writes that there is none");
        let some = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
        assert_eq!(machine(&[memory, one, some]), Some((2048, "its control group")), "a container sees its own as the root");
    }
}
