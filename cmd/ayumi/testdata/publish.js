// Publishes stdin with QoS 1 by MQTT.js and prints the reason code of the PUBACK.
//
//   node publish.js MODULES URL CA-FILE PROTOCOL-VERSION DEVICE SECRET TOPIC < upload.pb
'use strict';
const fs = require('fs');
const path = require('path');

const [modules, url, ca, version, device, secret, topic] = process.argv.slice(2);
const mqtt = require(path.resolve(modules, 'node_modules', 'mqtt'));
const payload = fs.readFileSync(0);

function fail(err) {
  console.error(err.message);
  process.exit(1);
}

const client = mqtt.connect(url, {
  ca: fs.readFileSync(ca), protocolVersion: Number(version), clientId: device,
  username: device, password: secret, clean: true, reconnectPeriod: 0, connectTimeout: 10000,
});
client.on('error', fail);
client.on('packetreceive', (packet) => {
  if (packet.cmd === 'puback') console.log('PUBACK ' + (packet.reasonCode || 0));
});
client.on('connect', () => {
  // MQTT.js reports a reason code that is not 0 as an error of the publish; it was printed above.
  client.publish(topic, payload, { qos: 1 }, () => client.end());
});
