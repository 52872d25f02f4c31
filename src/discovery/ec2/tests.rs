//! Against a server that answers as the API does.

use std::sync::{Arc, Mutex};

use super::super::tests::{Api as Server, Collected};
use super::*;
use crate::config::{Filter, HttpClientConfig, Secret};

const ZONES: &str = "<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item>\
    <zoneName>az-a</zoneName><zoneId>az1</zoneId></item></availabilityZoneInfo>\
    </DescribeAvailabilityZonesResponse>";

const FIRST: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">
 <requestId>x</requestId>
 <reservationSet><item><ownerId>123</ownerId><instancesSet><item>
  <instanceId>i-1</instanceId><imageId>ami-1</imageId>
  <instanceState><code>16</code><name>running</name></instanceState>
  <privateDnsName>ip-1.internal</privateDnsName><dnsName>ec2-1.aws</dnsName>
  <instanceType>t3.micro</instanceType><architecture>x86_64</architecture>
  <placement><availabilityZone>az-a</availabilityZone></placement>
  <privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>3.3.3.3</ipAddress>
  <vpcId>vpc-1</vpcId><subnetId>sn-1</subnetId>
  <networkInterfaceSet><item><subnetId>sn-2</subnetId>
    <attachment><deviceIndex>1</deviceIndex></attachment><ipv6AddressesSet>
      <item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>
    </ipv6AddressesSet></item><item><subnetId>sn-2</subnetId></item></networkInterfaceSet>
  <tagSet><item><key>my:Name</key><value>a &amp; b</value></item></tagSet>
 </item></instancesSet></item></reservationSet><nextToken>more</nextToken>
</DescribeInstancesResponse>";

const SECOND: &str = "<DescribeInstancesResponse><reservationSet><item><instancesSet>
  <item><instanceId>i-2</instanceId><vpcId>v</vpcId><networkInterfaceSet><item>
    <subnetId>s</subnetId><ipv6AddressesSet><item><ipv6Address>2001:db8::9</ipv6Address>
    <isPrimaryIpv6>false</isPrimaryIpv6></item></ipv6AddressesSet></item></networkInterfaceSet>
  </item><item><instanceId>i-3</instanceId></item></instancesSet></item></reservationSet>
</DescribeInstancesResponse>";

const ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials>
  <AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
  <SessionToken>tok</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
  </Credentials></AssumeRoleResult></AssumeRoleResponse>";

fn config(endpoint: String) -> Ec2Discovery {
    Ec2Discovery {
        endpoint,
        region: "eu-west-1".to_owned(),
        access_key: "AK".to_owned(),
        secret_key: Secret::new("SK"),
        profile: String::new(),
        role_arn: "arn:role".to_owned(),
        external_id: "ext".to_owned(),
        refresh_interval_ms: 60_000,
        port: 9100,
        filters: vec![Filter {
            name: "tag:x".to_owned(),
            values: vec!["1".to_owned(), "a b".to_owned()],
        }],
        http_client: HttpClientConfig::default(),
    }
}

#[tokio::test]
async fn instances_of_all_pages_are_targets() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = Arc::clone(&asked);
    let server = Server::serve(move |_, request| {
        kept.lock().unwrap().push(request.to_owned());
        let answer = if request.contains("Action=AssumeRole") {
            ROLE
        } else if request.contains("Action=DescribeAvailabilityZones") {
            ZONES
        } else if request.contains("NextToken=more") {
            SECOND
        } else {
            FIRST
        };
        Server::status("200 OK", answer)
    })
    .await;
    let mut mechanism = new(&config(server.url("/"))).unwrap();
    mechanism.refresh.chain.sts_endpoint = server.url("/");
    let mut collected = Collected::run(Box::new(mechanism));
    let groups = collected.next().await;
    assert_eq!((groups[0].source.as_str(), groups[0].targets.len()), ("eu-west-1", 2));
    let expected = Labels::from_pairs([
        ("__address__", "10.0.0.1:9100"),
        ("__meta_ec2_ami", "ami-1"),
        ("__meta_ec2_architecture", "x86_64"),
        ("__meta_ec2_availability_zone", "az-a"),
        ("__meta_ec2_availability_zone_id", "az1"),
        ("__meta_ec2_default_ipv6_address", "2001:db8::1"),
        ("__meta_ec2_instance_id", "i-1"),
        ("__meta_ec2_instance_state", "running"),
        ("__meta_ec2_instance_type", "t3.micro"),
        ("__meta_ec2_ipv6_addresses", ",2001:db8::1,"),
        ("__meta_ec2_owner_id", "123"),
        ("__meta_ec2_primary_ipv6_addresses", ",,2001:db8::1,"),
        ("__meta_ec2_primary_subnet_id", "sn-1"),
        ("__meta_ec2_private_dns_name", "ip-1.internal"),
        ("__meta_ec2_private_ip", "10.0.0.1"),
        ("__meta_ec2_public_dns_name", "ec2-1.aws"),
        ("__meta_ec2_public_ip", "3.3.3.3"),
        ("__meta_ec2_region", "eu-west-1"),
        ("__meta_ec2_subnet_id", ",sn-2,"),
        ("__meta_ec2_tag_my_Name", "a & b"),
        ("__meta_ec2_vpc_id", "vpc-1"),
    ]);
    assert_eq!(groups[0].targets[0], expected);
    assert_eq!(groups[0].targets[1].get("__address__"), Some("[2001:db8::9]:9100"));
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("Credential=AK/") && asked[0].contains("&ExternalId=ext&"));
    assert!(asked[2].contains("Credential=ROLEKEY/"), "{}", asked[2]);
    assert!(asked[2].contains("x-amz-security-token: tok\r\n"));
    let filters = "Filter.1.Name=tag%3Ax&Filter.1.Value.1=1&Filter.1.Value.2=a%20b";
    assert!(asked[2].contains(filters), "{}", asked[2]);
}

#[tokio::test]
async fn what_the_api_refuses_is_told() {
    let server = Server::serve(|_, _| {
        Server::status(
            "401 Unauthorized",
            "<Response><Errors><Error><Code>AuthFailure</Code><Message>not you</Message></Error>\
             </Errors></Response>",
        )
    })
    .await;
    let config = Ec2Discovery { role_arn: String::new(), ..config(server.url("/")) };
    let mut ec2 = new(&config).unwrap().refresh;
    let updates = Updates::new("j", super::super::Metrics::new(), |_, _| {});
    let error = ec2.refresh(&updates).await.unwrap_err();
    assert_eq!(error, "could not describe instances: AuthFailure: not you");
}
