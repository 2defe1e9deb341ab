//! The verdict, tried on clusters that never existed. The end-to-end scenarios try the query on real servers.

mod cluster;
mod findings;
mod form;
mod laws;
mod recording;
