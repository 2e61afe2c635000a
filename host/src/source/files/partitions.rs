//! Folders `name=value` on the way to a file, as Hive lays out partitions.
//!
//! A value is decoded from its percent-encoding; `__HIVE_DEFAULT_PARTITION__`
//! and a folder that is not there are null.

use std::borrow::Cow;
use std::collections::BTreeSet;

/// How Hive writes a null.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The value of a partition on the way to the file at a path below the source's
/// folder. Of two folders of that name the first one counts.
pub(super) fn value<'a>(path: &'a str, name: &str) -> Option<Cow<'a, str>> {
    let (_, value) = folders(path).find(|(key, _)| *key == name)?;
    (value != NULL).then(|| decoded(value))
}

/// The names of partitions on the way to these files.
pub fn partition_names<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for path in paths {
        names.extend(folders(path).map(|(name, _)| name));
    }
    names
}

fn folders(path: &str) -> impl Iterator<Item = (&str, &str)> {
    let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
    folders.split('/').filter_map(|folder| folder.split_once('=')).filter(|(name, _)| !name.is_empty())
}

/// What does not decode to UTF-8 stays as it is.
fn decoded(value: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(value).decode_utf8().unwrap_or(Cow::Borrowed(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_on_the_way_are_partitions() {
        let path = "in/date=2025-10-05/hour=08%3A30/x=__HIVE_DEFAULT_PARTITION__/y=/date=2/z=%ff/a=b.json";
        for (name, expected) in [
            ("date", Some("2025-10-05")),
            ("hour", Some("08:30")),
            ("x", None),
            ("y", Some("")),
            ("z", Some("%ff")),
            ("a", None),
            ("in", None),
            ("Date", None),
        ] {
            assert_eq!(value(path, name).as_deref(), expected, "{name}");
        }
        assert_eq!(value("date=1", "date"), None, "that is the file");
        let names = partition_names([path, "m=1/n=2/f", "f"]);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["date", "hour", "m", "n", "x", "y", "z"]);
    }
}
