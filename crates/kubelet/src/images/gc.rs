//! Removes unused images when the disk fills up. The choice is pure.

use super::Images;
use crate::config::UpkeepConfig;
use crate::host::{FsUsage, Host};
use api_types::k8s_openapi::jiff::Timestamp;
use component_base::clock;
use k8s_cri::v1::Image;
use std::collections::BTreeMap;
use std::path::Path;

/// When images were seen first and used last.
#[derive(Debug, Default)]
pub(crate) struct ImageHistory(BTreeMap<String, (Timestamp, Option<Timestamp>)>);

impl ImageHistory {
    /// Notes what is there and what is in use.
    pub(crate) fn observe(&mut self, images: &[Image], in_use: &dyn Fn(&Image) -> bool, now: Timestamp) {
        self.0.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let entry = self.0.entry(image.id.clone()).or_insert((now, None));
            if in_use(image) {
                entry.1 = Some(now);
            }
        }
    }

    /// Images to remove, in order, until `bytes` are freed: the longest unused first.
    pub(crate) fn victims(&self, images: &[Image], bytes: u64, config: &UpkeepConfig, now: Timestamp) -> Vec<String> {
        let old_enough =
            |since: Timestamp| now.as_second() - since.as_second() >= config.image_min_age.as_secs() as i64;
        let mut unused: Vec<(&Image, Timestamp)> = (images.iter().filter(|image| !image.pinned))
            .filter_map(|image| self.0.get(&image.id).map(|(seen, used)| (image, *seen, used.unwrap_or(*seen))))
            .filter(|(_, seen, used)| *used < now && old_enough(*seen))
            .map(|(image, _, used)| (image, used))
            .collect();
        unused.sort_by(|a, b| (a.1, &a.0.id).cmp(&(b.1, &b.0.id)));
        let max_age = config.image_max_age.as_secs() as i64;
        let mut freed = 0;
        let mut out = Vec::new();
        for (image, used) in unused {
            let expired = max_age > 0 && now.as_second() - used.as_second() > max_age;
            if freed < bytes || expired {
                freed += image.size;
                out.push(image.id.clone());
            }
        }
        out
    }
}

/// How much to free: down to the low mark when above the high one.
pub(crate) fn excess(usage: &FsUsage, config: &UpkeepConfig) -> u64 {
    let used = usage.capacity.saturating_sub(usage.available);
    let percent = |percent: u32| usage.capacity / 100 * u64::from(percent);
    if config.image_gc_high >= 100 || used < percent(config.image_gc_high) {
        return 0;
    }
    used - percent(config.image_gc_low)
}

impl Images {
    /// One round of image removal.
    pub(crate) async fn collect_garbage(
        &self,
        host: &dyn Host,
        config: &UpkeepConfig,
        history: &mut ImageHistory,
    ) -> anyhow::Result<()> {
        let images = self.runtime.list_images().await?;
        let containers = self.runtime.list_containers(None).await?;
        let named = |image: &Image, name: &str| {
            image.id == name || image.repo_tags.iter().chain(&image.repo_digests).any(|tag| tag == name)
        };
        let sandbox = self.runtime.sandbox_image().await?;
        let in_use = |image: &Image| {
            sandbox.as_deref().is_some_and(|name| named(image, name))
                || containers.iter().any(|container| {
                    let spec = container.image.as_ref().map(|spec| spec.image.as_str()).unwrap_or_default();
                    named(image, &container.image_ref) || named(image, spec) || named(image, &container.image_id)
                })
        };
        let now = clock::now();
        history.observe(&images, &in_use, now);
        let file_systems = self.runtime.image_fs_info().await?;
        let mount =
            file_systems.image_filesystems.first().and_then(|fs| fs.fs_id.as_ref()).map(|fs| fs.mountpoint.clone());
        let Some(mount) = mount else { return Ok(()) };
        let usage = host.fs_usage(Path::new(&mount)).await?;
        for id in history.victims(&images, excess(&usage, config), config, now) {
            tracing::info!(image = %id, "removing an unused image");
            self.runtime.remove_image(&id).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_go_first() {
        let image = |id: &str| Image { id: id.into(), size: 10, ..Image::default() };
        let images = [image("a"), image("b"), image("used"), Image { pinned: true, ..image("pause") }];
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let mut history = ImageHistory::default();
        history.observe(&images, &|image| image.id != "b", at(0));
        history.observe(&images, &|image| image.id == "a" || image.id == "used", at(100));
        history.observe(&images, &|image| image.id == "used", at(1000));
        let config = UpkeepConfig::default();
        assert_eq!(history.victims(&images, 5, &config, at(1000)), ["b"]);
        assert_eq!(history.victims(&images, 50, &config, at(1000)), ["b", "a"]);
        assert_eq!(history.victims(&images, 0, &config, at(1000)), Vec::<String>::new());
        assert_eq!(history.victims(&images, 50, &config, at(60)), Vec::<String>::new(), "too young");
    }

    #[test]
    fn marks() {
        let config = UpkeepConfig::default();
        let usage = |available| FsUsage { capacity: 100, available, ..FsUsage::default() };
        assert_eq!(excess(&usage(16), &config), 0);
        assert_eq!(excess(&usage(10), &config), 10);
    }
}
