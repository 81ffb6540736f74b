//! Rotation of one container's log: the file is renamed with the time, old ones beyond the limit go.

use crate::host::Host;
use component_base::clock;
use std::io;
use std::path::Path;

/// Renames `path` out of the way and removes the oldest so that, with the file to come, at most `max_files` are there.
pub(crate) async fn rotate(host: &dyn Host, path: &Path, max_files: u32) -> io::Result<()> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let name = name.to_string_lossy();
    let rotated: Vec<String> =
        host.list(dir).await?.into_iter().filter(|other| other.starts_with(&format!("{name}."))).collect();
    // The file being renamed and the one to come take two places.
    let keep = (max_files as usize).saturating_sub(2);
    for old in &rotated[..rotated.len().saturating_sub(keep)] {
        host.remove(&dir.join(old)).await?;
    }
    let stamp = clock::now().strftime("%Y%m%d-%H%M%S");
    host.rename(path, &dir.join(format!("{name}.{stamp}"))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HollowHost;

    #[tokio::test]
    async fn the_oldest_go() {
        let host = HollowHost::new("n", 1, 1 << 30);
        for name in ["0.log", "0.log.20260101-000000", "0.log.20260102-000000", "0.log.20260103-000000", "1.log"] {
            host.write(&Path::new("/l").join(name), b"x", 0o640).await.unwrap();
        }
        rotate(&host, Path::new("/l/0.log"), 3).await.unwrap();
        let left = host.list(Path::new("/l")).await.unwrap();
        assert_eq!(left.len(), 3, "{left:?}");
        assert_eq!(left[0], "0.log.20260103-000000");
        assert!(left[1].starts_with("0.log.2") && left[2] == "1.log");
    }
}
