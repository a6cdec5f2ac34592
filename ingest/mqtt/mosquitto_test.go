package mqtt

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"ayumi/steps"
)

// mosquitto returns a command of the Mosquitto clients for the listener at addr.
func mosquitto(t *testing.T, name, addr, version string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("%v; install mosquitto-clients", err)
		}
		t.Skip(err)
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), path, append([]string{"-d", "-V", version, "-h", host, "-p", port, "-i", "pedometer",
		"-u", "device"}, args...)...)
}

func TestMosquittoPub(t *testing.T) {
	for _, version := range []string{"311", "5"} {
		gw := newFake()
		addr := startServer(t, DefaultConfig(), gw)
		run := func(complete func(item), args ...string) (string, error) {
			cmd := mosquitto(t, "mosquitto_pub", addr, version, args...)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if complete != nil {
				complete(gw.take(t))
			}
			err := cmd.Wait()
			return out.String(), err
		}
		publish := []string{"-P", "secret", "-t", "ayumi/v1/device/up/json", "-m", "steps", "-q"}
		t.Run(version+" stored", func(t *testing.T) {
			out, err := run(item.store, append(publish, "1")...)
			if err != nil || !strings.Contains(out, "received PUBACK") {
				t.Errorf("%v\n%s", err, out)
			}
		})
		t.Run(version+" refused", func(t *testing.T) {
			out, err := run(func(it item) { it.refuse(steps.ReasonFuture, "ahead") }, append(publish, "1")...)
			if version == "5" && !strings.Contains(out, "RC:153") {
				t.Errorf("%v\n%s", err, out)
			} else if version == "311" && err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
		t.Run(version+" QoS 0", func(t *testing.T) {
			if out, err := run(item.store, append(publish, "0")...); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
		t.Run(version+" wrong secret", func(t *testing.T) {
			if out, err := run(nil, "-P", "wrong", "-t", "t", "-m", "m"); err == nil {
				t.Errorf("connected\n%s", out)
			}
		})
	}
}

func TestMosquittoSub(t *testing.T) {
	for _, version := range []string{"311", "5"} {
		t.Run(version, func(t *testing.T) {
			gw := newFake()
			addr := startServer(t, receiptConfig(), gw)
			// mosquitto_rr publishes and waits for one message on another topic: a receipt.
			cmd := mosquitto(t, "mosquitto_rr", addr, version, "-P", "secret", "-t", "ayumi/v1/device/up/json", "-m", "steps",
				"-e", "ayumi/v1/device/receipt", "-q", "1")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			gw.take(t).store()
			if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "json 7.1") {
				t.Errorf("%v\n%s", err, out.String())
			}
		})
	}
}
