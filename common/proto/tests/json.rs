//! What the JSON of the wire looks like, as clients depend on it: odd names, numbers as texts, defaults left out.

#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use hearth_proto::google::v1::{Profile, Sample};
use hearth_proto::push::v1::{PushRequest, RawProfileSeries, RawSample};
use hearth_proto::querier::v1::{
    FlameGraph, FlameGraphDiff, Level, ProfileTypesResponse, QueryImpact, SelectHeatmapRequest,
    SelectSeriesRequest, SelectSeriesResponse, SeriesResponse,
};
use hearth_proto::settings::v1::Setting;
use hearth_proto::types::v1::{Labels, Point, ProfileType, Series};
use hearth_proto::version::v1::VersionResponse;
use prost::Message;

fn json<T: serde::Serialize>(message: &T) -> String {
    serde_json::to_string(message).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

#[test]
fn names_keep_their_odd_case() {
    let one = ProfileType { id: "a:b".to_owned(), sample_type: "b".to_owned(), ..Default::default() };
    let types = ProfileTypesResponse { profile_types: vec![one] };
    assert_eq!(json(&types), r#"{"profileTypes":[{"ID":"a:b","sampleType":"b"}]}"#);
    assert_eq!(json(&VersionResponse { querier_api: 1 }), r#"{"QuerierAPI":"1"}"#);
    let setting = Setting { name: "n".to_owned(), value: String::new(), modified_at: 7 };
    assert_eq!(json(&setting), r#"{"name":"n","modifiedAt":"7"}"#);
    assert_eq!(json(&SeriesResponse { labels_set: vec![Labels::default()] }), r#"{"labelsSet":[{}]}"#);
    let diff = FlameGraphDiff { left_ticks: 1, right_ticks: 2, ..Default::default() };
    assert_eq!(json(&diff), r#"{"leftTicks":"1","rightTicks":"2"}"#);
}

#[test]
fn whole_numbers_are_texts_and_zeros_are_left_out() {
    let level = Level { values: vec![0, -10, i64::MAX] };
    let graph = FlameGraph { names: vec!["total".to_owned()], levels: vec![level], total: 10, max_self: 0 };
    let text = r#"{"names":["total"],"levels":[{"values":["0","-10","9223372036854775807"]}],"total":"10"}"#;
    assert_eq!(json(&graph), text);
    assert_eq!(read::<FlameGraph>(text), graph);
    assert_eq!(json(&SelectSeriesResponse::default()), "{}");
    let point = Point { value: 2.5, timestamp: 1_700_000_000_000, ..Default::default() };
    let series = Series { points: vec![point], ..Default::default() };
    assert_eq!(json(&series), r#"{"points":[{"value":2.5,"timestamp":"1700000000000"}]}"#);
    let sample = Sample { location_id: vec![u64::MAX], value: vec![-1], label: vec![] };
    let profile = Profile { sample: vec![sample], ..Default::default() };
    assert_eq!(json(&profile), r#"{"sample":[{"locationId":["18446744073709551615"],"value":["-1"]}]}"#);
}

#[test]
fn both_names_both_kinds_of_numbers_and_enums() {
    let camel = r#"{"profileTypeID":"t","groupBy":["pod"],"step":15,"aggregation":"TIME_SERIES_AGGREGATION_TYPE_AVERAGE",
        "limit":"3","new":{"x":[1]}}"#;
    let snake = r#"{"profile_typeID":"t","group_by":["pod"],"step":"15","aggregation":1,"limit":3}"#;
    let request: SelectSeriesRequest = read(camel);
    assert_eq!((request.step, request.aggregation, request.limit), (15.0, Some(1), Some(3)));
    assert_eq!(read::<SelectSeriesRequest>(snake), request);
    let heatmap: SelectHeatmapRequest = read(r#"{"queryType":2,"exemplarType":"EXEMPLAR_TYPE_OF_TOMORROW"}"#);
    assert_eq!((heatmap.query_type, heatmap.exemplar_type), (2, 0));
}

#[test]
fn profiles_are_base64_in_json_and_a_slice_of_the_body_in_binary() {
    for text in ["+/8=", "-_8="] {
        let request: PushRequest =
            read(&format!(r#"{{"series":[{{"samples":[{{"rawProfile":"{text}"}}]}}]}}"#));
        assert_eq!(&request.series[0].samples[0].raw_profile[..], [0xfb, 0xff]);
    }
    let sample = RawSample { raw_profile: Bytes::from(vec![7; 1000]), id: "x".to_owned() };
    assert!(json(&sample).contains(r#""ID":"x""#));
    let series = RawProfileSeries { samples: vec![sample], ..Default::default() };
    let body = Bytes::from(PushRequest { series: vec![series] }.encode_to_vec());
    let request = PushRequest::decode(body.clone()).unwrap();
    let raw = &request.series[0].samples[0].raw_profile;
    assert!(body.as_ptr_range().contains(&raw.as_ptr()), "the profile was copied");
}

#[test]
fn numbers_of_fields_that_do_not_begin_at_one() {
    let impact =
        QueryImpact { total_bytes_in_time_range: 7, total_queried_series: 8, deduplication_needed: true };
    assert_eq!(impact.encode_to_vec(), [0x10, 7, 0x18, 8, 0x20, 1]);
}
