//! Files dropped in a folder of any object store.
