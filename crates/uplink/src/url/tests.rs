use super::*;

fn mqtt_of(text: &str) -> MqttUrl {
    match text.parse() {
        Ok(SinkUrl::Mqtt(url)) => url,
        other => panic!("{text}: {other:?}"),
    }
}

fn jetstream_of(text: &str) -> JetStreamUrl {
    match text.parse() {
        Ok(SinkUrl::JetStream(url)) => url,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn urls_are_read_with_their_defaults() {
    let full = mqtt_of("mqtt://me:p%40ss%3A@broker.example:8883/plant/a");
    assert_eq!(full.host.to_string(), "broker.example:8883");
    assert_eq!(full.login.user.as_deref(), Some("me"));
    assert_eq!(full.login.password.as_deref(), Some("p@ss:"));
    assert_eq!(full.topic, "plant/a");

    let short = mqtt_of("mqtt://[::1]");
    assert_eq!(
        (short.host.to_string().as_str(), short.topic.as_str()),
        ("[::1]:1883", "fieldmesh")
    );
    assert_eq!("file:/tmp/x".parse(), Ok(SinkUrl::File("/tmp/x".into())));
    assert_eq!("file:///tmp/x".parse(), Ok(SinkUrl::File("/tmp/x".into())));
}

#[test]
fn tls_and_an_older_version_are_chosen_in_the_url() {
    let secure = mqtt_of("mqtts://broker.example/plant?version=3.1.1");
    assert_eq!((secure.host.port, secure.tls), (8_883, true));
    assert_eq!(secure.version, MqttVersion::V3);
    assert_eq!(secure.to_string(), "mqtts://broker.example:8883/plant");
    let plain = mqtt_of("mqtt://broker.example");
    assert_eq!((plain.tls, plain.version), (false, MqttVersion::V5));
    assert!(jetstream_of("tls://a").tls && !jetstream_of("nats://a").tls);
}

#[test]
fn a_cluster_is_read_as_users_of_nats_write_it() {
    let cluster = jetstream_of("nats://s3cret@a,b:14222,[::1]:1/plant.a");
    let hosts: Vec<String> = cluster.hosts.iter().map(Host::to_string).collect();
    assert_eq!(hosts, ["a:4222", "b:14222", "[::1]:1"]);
    assert_eq!(cluster.login.user.as_deref(), Some("s3cret"));
    assert_eq!(
        (cluster.login.password, cluster.prefix.as_str()),
        (None, "plant.a")
    );
    assert_eq!(jetstream_of("nats://a").prefix, "fieldmesh");
}

#[test]
fn a_store_is_written_to_in_nanoseconds_at_the_path_that_is_given() {
    let path = |text: &str| match text.parse() {
        Ok(SinkUrl::Influx(url)) => url.path_and_query,
        other => panic!("{text}: {other:?}"),
    };

    assert_eq!(path("influx+http://h"), "/write?db=fieldmesh&precision=ns");
    assert_eq!(path("influx+http://h/?db=a"), "/write?db=a&precision=ns");
    let v2 = "influx+https://token@h:1/api/v2/write?org=o&bucket=b&precision=ns";
    assert_eq!(path(v2), "/api/v2/write?org=o&bucket=b&precision=ns");
    let shown = v2.parse::<SinkUrl>().expect("a URL").to_string();
    assert_eq!(shown, "influx+https://h:1/api/v2/write");
}

#[test]
fn a_wrong_url_says_what_to_write_instead() {
    let error = |text: &str| text.parse::<SinkUrl>().expect_err(text);

    assert_eq!(error("file:"), UrlError::NoDirectory);
    assert_eq!(error("mqtt://"), UrlError::NoHost);
    assert_eq!(error("nats://a,,b"), UrlError::NoHost);
    assert_eq!(error("mqtt://a,b"), UrlError::SeveralHosts);
    assert_eq!(error("mqtt://host:many"), UrlError::Port("many".to_owned()));
    assert_eq!(error("mqtt://a%zz:x@host"), UrlError::Escape);
    assert_eq!(
        error("mqtt://host/a/+/b"),
        UrlError::Topic("a/+/b".to_owned())
    );
    assert_eq!(
        error("mqtt://host/a?version=4"),
        UrlError::Version("version=4".to_owned())
    );
    for prefix in ["a..b", "a.*", "a/b", "a b", "$SYS.a", ".a"] {
        let url = format!("nats://host/{prefix}");
        assert_eq!(error(&url), UrlError::Prefix(prefix.to_owned()));
    }
    for query in ["precision=s", "db=a b"] {
        let url = format!("influx+http://host/?{query}");
        assert_eq!(error(&url), UrlError::Query(query.to_owned()));
    }
    assert_eq!(
        error("amqp://u:secret@host"),
        UrlError::Scheme("amqp".to_owned())
    );
    let known = error("amqp:x").to_string();
    assert!(known.contains("file:DIR") && known.contains("nats://"));
}

#[test]
fn a_url_is_shown_without_its_password() {
    let url: SinkUrl = "mqtt://me:secret@host:1".parse().expect("a URL");
    assert_eq!(format!("{url} {url:?}").matches("secret").count(), 0);
    assert_eq!(url.to_string(), "mqtt://host:1/fieldmesh");

    let url: SinkUrl = "nats://secret@host:1,other".parse().expect("a URL");
    assert_eq!(format!("{url} {url:?}").matches("secret").count(), 0);
    assert_eq!(url.to_string(), "nats://host:1,other:4222/fieldmesh");

    let url: SinkUrl = "influx+http://a:secret@h/w?p=secret"
        .parse()
        .expect("a URL");
    assert_eq!(format!("{url} {url:?}").matches("secret").count(), 0);
}
