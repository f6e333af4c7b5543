//! The parts of librdkafka that the `rdkafka` crate does not wrap: batch reads from a partition's own queue,
//! topic ids, and offset look-ups for many partitions in one request.
//!
//! This is the only module with `unsafe`. Every block states what makes it sound. Pointers never leave the
//! module; callers see borrowed slices and owned values.
#![expect(unsafe_code, reason = "librdkafka calls that the rdkafka crate does not wrap")]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::client::ClientContext;
use crate::message::{Header, Message};
use crate::offsets::TopicPartition;

pub(super) type Client = BaseConsumer<ClientContext>;

/// A signal that librdkafka raises when an empty partition queue gets its first entry.
#[derive(Default)]
pub(super) struct Wake {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }

    /// Waits until raised or the time is up, and lowers the signal.
    pub(super) fn wait(&self, timeout: Duration) {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut raised, _) = self
            .changed
            .wait_timeout_while(raised, timeout, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner);
        *raised = false;
    }
}

unsafe extern "C" fn raise_wake(_client: *mut rd::rd_kafka_t, wake: *mut c_void) {
    // SAFETY: `wake` is the Arc<Wake> that PartitionQueue holds until it has disabled this callback.
    unsafe { &*wake.cast::<Wake>() }.raise();
}

/// One partition's fetch queue, no longer forwarded to the consumer's common queue, so that each partition can be
/// read exactly up to an offset.
pub(super) struct PartitionQueue {
    queue: *mut rd::rd_kafka_queue_t,
    /// Keeps the callback's argument alive.
    _wake: Arc<Wake>,
    /// Keeps the client, and with it the queue, alive.
    _client: Arc<Client>,
}

// SAFETY: librdkafka's queues may be used from any thread.
unsafe impl Send for PartitionQueue {}

impl PartitionQueue {
    /// Must come before the partition is assigned, or its first messages go to the common queue.
    /// `None`: no such partition can be named.
    pub(super) fn split(
        client: &Arc<Client>,
        id: &TopicPartition,
        wake: &Arc<Wake>,
    ) -> Option<Self> {
        let topic = CString::new(&*id.topic).ok()?;
        // SAFETY: the client lives, the name is a C string, a null result is handled.
        let queue = unsafe {
            rd::rd_kafka_queue_get_partition(
                client.client().native_ptr(),
                topic.as_ptr(),
                id.partition,
            )
        };
        if queue.is_null() {
            return None;
        }
        // SAFETY: the queue was just made; forwarding to null means "keep"; the Wake outlives the callback (Drop).
        unsafe {
            rd::rd_kafka_queue_forward(queue, ptr::null_mut());
            let argument = Arc::as_ptr(wake).cast_mut().cast::<c_void>();
            rd::rd_kafka_queue_cb_event_enable(queue, Some(raise_wake), argument);
        }
        Some(Self { queue, _wake: wake.clone(), _client: client.clone() })
    }

    /// Takes up to `most` entries that are there now; does not wait.
    pub(super) fn take(&self, entries: &mut Entries, most: usize) {
        entries.clear();
        let most = most.min(entries.pointers.capacity());
        // SAFETY: the buffer has room for `most` pointers; librdkafka says how many it wrote.
        unsafe {
            let taken = rd::rd_kafka_consume_batch_queue(
                self.queue,
                0,
                entries.pointers.as_mut_ptr(),
                most,
            );
            entries.pointers.set_len(usize::try_from(taken).unwrap_or(0));
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_queue_get_partition, destroyed once; no callback after it is disabled.
        unsafe {
            rd::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            rd::rd_kafka_queue_destroy(self.queue);
        }
    }
}

/// A reusable buffer of queue entries. Entries pin librdkafka's fetch buffers until they are cleared.
pub(super) struct Entries {
    pointers: Vec<*mut rd::rd_kafka_message_t>,
}

// SAFETY: librdkafka's messages may be used and freed from any thread.
unsafe impl Send for Entries {}

impl Entries {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { pointers: Vec::with_capacity(capacity) }
    }

    pub(super) fn len(&self) -> usize {
        self.pointers.len()
    }

    pub(super) fn get(&self, index: usize) -> Entry<'_> {
        Entry::of(&self.pointers[index], self)
    }

    /// Moves the entries from `index` on into a buffer of their own.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        Self { pointers: self.pointers.split_off(index) }
    }

    /// Takes over all entries of another buffer.
    pub(super) fn append(&mut self, other: &mut Self) {
        self.pointers.append(&mut other.pointers);
    }

    pub(super) fn clear(&mut self) {
        for message in self.pointers.drain(..) {
            // SAFETY: every pointer came from consume_batch_queue and is destroyed once.
            unsafe { rd::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for Entries {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a partition queue held.
pub(super) enum Entry<'a> {
    Record(Record<'a>),
    /// The end of the partition was reached; the next record will have this offset or a later one.
    EndOfPartition(i64),
    Error(RDKafkaErrorCode),
}

impl<'a> Entry<'a> {
    fn of(pointer: &'a *mut rd::rd_kafka_message_t, _owner: &'a Entries) -> Self {
        // SAFETY: a message that `Entries` owns lives as long as the borrow.
        let raw: &'a rd::rd_kafka_message_t = unsafe { &**pointer };
        match raw.err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Self::Record(Record { raw }),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => Self::EndOfPartition(raw.offset),
            error => Self::Error(error.into()),
        }
    }
}

/// One record, borrowed from librdkafka's fetch buffer.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    raw: &'a rd::rd_kafka_message_t,
}

impl<'a> Record<'a> {
    pub(super) fn offset(self) -> i64 {
        self.raw.offset
    }

    pub(super) fn payload_bytes(self) -> usize {
        self.raw.len + self.raw.key_len
    }

    /// `headers` is scratch space; it stays empty unless `want_headers`.
    pub(super) fn message<'b>(
        self,
        want_headers: bool,
        headers: &'b mut Vec<Header<'a>>,
    ) -> Message<'b>
    where
        'a: 'b,
    {
        headers.clear();
        if want_headers {
            self.collect_headers(headers);
        }
        Message {
            offset: self.raw.offset,
            timestamp_ms: self.timestamp_ms(),
            key: bytes(self.raw.key, self.raw.key_len),
            value: bytes(self.raw.payload, self.raw.len),
            headers,
        }
    }

    fn timestamp_ms(self) -> Option<i64> {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message lives; `kind` is written before it is read.
        let timestamp = unsafe { rd::rd_kafka_message_timestamp(self.raw, &mut kind) };
        (kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && timestamp >= 0)
            .then_some(timestamp)
    }

    fn collect_headers(self, out: &mut Vec<Header<'a>>) {
        let mut headers = ptr::null_mut();
        // SAFETY: the headers belong to the message, which lives for 'a; nothing is read on an error.
        unsafe {
            if rd::rd_kafka_message_headers(self.raw, &mut headers)
                != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                let answer =
                    rd::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size);
                if answer != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return;
                }
                out.push(Header {
                    name: CStr::from_ptr(name).to_bytes(),
                    value: bytes(value.cast_mut(), size),
                });
            }
        }
    }
}

/// `None` for null; an empty slice for a value of no bytes.
fn bytes<'a>(data: *mut c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: librdkafka gives a pointer to `len` bytes that live as long as the message, or null.
    (!data.is_null()).then(|| unsafe { slice::from_raw_parts(data.cast::<u8>(), len) })
}

/// A topic as the cluster's metadata describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicInfo {
    /// `None` on a broker without topic ids.
    pub id: Option<String>,
    pub partitions: Vec<i32>,
}

/// Describes topics in one request to the broker with this id; per topic its id and partitions, or why not.
///
/// Any broker can answer. librdkafka would ask the controller, which a cluster may not name.
pub(super) fn describe_topics(
    client: &Client,
    broker: i32,
    names: &[String],
    timeout: Duration,
) -> Result<BTreeMap<String, Result<TopicInfo, RDKafkaErrorCode>>, RDKafkaErrorCode> {
    let names: Vec<CString> = names.iter().filter_map(|n| CString::new(n.as_str()).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the collection copies the names; everything made here is destroyed here, after the request is done.
    let event = unsafe {
        let topics =
            rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let event = request(client, operation, timeout, |client, options, queue| {
            let mut reason = [0; 256];
            rd::rd_kafka_AdminOptions_set_broker(
                options,
                broker,
                reason.as_mut_ptr(),
                reason.len(),
            );
            rd::rd_kafka_DescribeTopics(client, topics, options, queue);
        });
        rd::rd_kafka_TopicCollection_destroy(topics);
        event?
    };
    // SAFETY: the result and what it lists belong to the event, which lives until the end of the scope.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        Ok((0..count)
            .map(|index| {
                let topic = *topics.add(index);
                let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic));
                (name.to_string_lossy().into_owned(), topic_info(topic))
            })
            .collect())
    }
}

/// # Safety
/// `topic` is a description that lives during the call.
unsafe fn topic_info(
    topic: *const rd::rd_kafka_TopicDescription_t,
) -> Result<TopicInfo, RDKafkaErrorCode> {
    // SAFETY: accessors of a live description; null is handled.
    unsafe {
        let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic));
        if error.is_error() {
            return Err(error.into());
        }
        let mut count = 0;
        let partitions = rd::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = (0..count)
            .map(|index| rd::rd_kafka_TopicPartitionInfo_partition(*partitions.add(index)))
            .collect();
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let id = (!id.is_null())
            .then(|| url_safe(&CStr::from_ptr(rd::rd_kafka_Uuid_base64str(id)).to_string_lossy()))
            .filter(|id| !id.is_empty() && id != ZERO_TOPIC_ID);
        Ok(TopicInfo { id, partitions })
    }
}

/// A topic id as Kafka's own tools print it: librdkafka uses the other base64 alphabet, whose `/` would be taken for a
/// separator in an `appId`.
fn url_safe(id: &str) -> String {
    id.replace('+', "-").replace('/', "_")
}

/// The all-zero id that a broker without topic ids answers with.
const ZERO_TOPIC_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

/// Which offset of a partition to look up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetSpec {
    Earliest,
    /// One past the newest record; with `read_committed` the last stable offset.
    Latest,
    /// The first record whose timestamp is this or later, in milliseconds; −1 is answered when there is none.
    Timestamp(i64),
}

impl OffsetSpec {
    fn wire(self) -> i64 {
        match self {
            Self::Earliest => rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST as i64,
            Self::Latest => rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST as i64,
            Self::Timestamp(ms) => ms,
        }
    }
}

/// Looks up one offset of each partition, one request to each leader.
pub(super) fn list_offsets(
    client: &Client,
    partitions: &[TopicPartition],
    spec: OffsetSpec,
    read_committed: bool,
    timeout: Duration,
) -> Result<BTreeMap<TopicPartition, Result<i64, RDKafkaErrorCode>>, RDKafkaErrorCode> {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for id in partitions {
        list.add_partition(&id.topic, id.partition)
            .set_offset(rdkafka::Offset::Offset(0))
            .expect("zero is an offset");
    }
    // SAFETY: the list lives during the request; the offsets are plain fields of its elements, which hold the
    // request's specification here (negative ones can't be set through the safe interface).
    let event = unsafe {
        let raw = list.ptr();
        for element in slice::from_raw_parts_mut((*raw).elems, partitions.len()) {
            element.offset = spec.wire();
        }
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        request(client, operation, timeout, |client, options, queue| {
            if read_committed {
                let level = rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED;
                rd::rd_kafka_error_destroy(rd::rd_kafka_AdminOptions_set_isolation_level(
                    options, level,
                ));
            }
            rd::rd_kafka_ListOffsets(client, raw, options, queue);
        })?
    };
    // SAFETY: as in `describe_topics`.
    unsafe {
        let result = rd::rd_kafka_event_ListOffsets_result(event.0);
        let mut count = 0;
        let infos = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
        Ok((0..count)
            .map(|index| {
                let answer =
                    &*rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                let topic = CStr::from_ptr(answer.topic).to_string_lossy().into_owned();
                let offset =
                    if answer.err.is_error() { Err(answer.err.into()) } else { Ok(answer.offset) };
                (TopicPartition::new(topic, answer.partition), offset)
            })
            .collect())
    }
}

/// A finished admin request's answer.
struct Event(*mut rd::rd_kafka_event_t);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: made by rd_kafka_queue_poll, destroyed once.
        unsafe { rd::rd_kafka_event_destroy(self.0) };
    }
}

/// Sends one admin request and waits for its answer; `send` gets client, options and reply queue.
fn request(
    client: &Client,
    operation: rd::rd_kafka_admin_op_t,
    timeout: Duration,
    send: impl FnOnce(*mut rd::rd_kafka_t, *mut rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, RDKafkaErrorCode> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: options and queue are made, used and destroyed here; the answer comes within the request's own
    // time-out, so waiting a little longer than that always sees it.
    unsafe {
        let native = client.client().native_ptr();
        let options = rd::rd_kafka_AdminOptions_new(native, operation);
        let mut reason = [0; 256];
        rd::rd_kafka_AdminOptions_set_request_timeout(
            options,
            timeout_ms,
            reason.as_mut_ptr(),
            reason.len(),
        );
        let queue = rd::rd_kafka_queue_new(native);
        send(native, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, timeout_ms.saturating_add(1_000));
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
        if event.is_null() {
            return Err(RDKafkaErrorCode::OperationTimedOut);
        }
        let event = Event(event);
        let error = rd::rd_kafka_event_error(event.0);
        if error.is_error() { Err(error.into()) } else { Ok(event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_are_written_as_kafkas_tools_write_them() {
        assert_eq!(url_safe("/FbO+x8gQ2mPz0vXk1Yt3A"), "_FbO-x8gQ2mPz0vXk1Yt3A");
    }
}
