package uplink

import "ayumi/steps"

// UploadTopic is where a device publishes its own uploads.
func UploadTopic(device steps.DeviceID, enc steps.Encoding) string {
	return "ayumi/v1/" + string(device) + "/up/" + enc.String()
}

// BundleTopic is where a reader publishes other devices' uploads.
func BundleTopic(reader steps.DeviceID, enc steps.Encoding) string {
	return "ayumi/v1/" + string(reader) + "/bundle/" + enc.String()
}

func topicOf(device steps.DeviceID, p Payload) string {
	if p.Bundle {
		return BundleTopic(device, p.Encoding)
	}
	return UploadTopic(device, p.Encoding)
}
