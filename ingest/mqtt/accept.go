package mqtt

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"time"

	"ayumi/ingest"
	"ayumi/steps"
)

// refusal is how a CONNECT is refused in either version.
type refusal struct {
	result connectResult
	v311   returnCode
	v5     reasonCode
}

// establish reads CONNECT and answers it. It reports whether a session came about.
func (c *conn) establish() bool {
	_ = c.nc.SetDeadline(time.Now().Add(c.srv.cfg.ConnectTimeout)) // fails only on a closed socket, as Read will
	if t, ok := c.nc.(handshaker); ok {
		if err := shake(t); err != nil {
			c.reject(connectTLS, err)
			return false
		}
	}
	_, body, err := c.readPacket()
	if err != nil {
		c.reject(connectFailure(err), err)
		return false
	}
	p, err := parseConnect(body)
	c.level = p.level
	if err != nil {
		c.refuseMalformed(p.level, err)
		return false
	}
	if ref := c.authenticate(&p); ref.result != connectAccepted {
		c.refuse(ref)
		return false
	}
	return c.acceptSession(&p)
}

type handshaker interface{ Handshake() error }

// shake runs a TLS handshake on a goroutine of its own. It takes 16 to 32 KiB of stack, which the
// connection's goroutine would keep through its idle life, a garbage collection or two after the next.
func shake(t handshaker) error {
	end := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				end <- fmt.Errorf("the handshake panicked: %v", r)
			}
		}()
		end <- t.Handshake()
	}()
	return <-end
}

// connectFailure classifies what kept a CONNECT from coming.
func connectFailure(err error) connectResult {
	var perr *protocolError
	switch {
	case errors.As(err, &perr):
		return connectMalformed
	case errors.Is(err, os.ErrDeadlineExceeded):
		return connectTimeout
	default:
		return connectLost
	}
}

// authenticate decides on a well-formed CONNECT. The secret is wiped from the input buffer.
func (c *conn) authenticate(p *connect) refusal {
	defer clear(p.password)
	switch {
	case p.props.has(propAuthMethod):
		return refusal{connectAuthMethod, 0, codeBadAuthMethod}
	case p.props.maximumPacket != 0 && p.props.maximumPacket < minMaxPacket:
		return refusal{connectUnavailable, 0, codeImplementation}
	case len(p.clientID) == 0 && p.level == level311 && !p.cleanStart: // MQTT-3.1.3-8
		return refusal{connectIdentifier, returnIdentifier, 0}
	}
	device, err := steps.ParseDeviceID(string(p.user))
	if err != nil || !p.hasPassword || len(p.password) == 0 {
		return refusal{connectMissing, returnBadCredentials, codeBadCredentials}
	}
	id, err := c.srv.gw.Authenticate(device, p.password)
	if err != nil {
		codes := codesOf(steps.KindOf(err))
		result := connectUnavailable
		if codes.cause == causeUnauthorized {
			result = connectUnauthorized
		}
		c.srv.log.Debug("mqtt connect refused", slog.String("device", string(device)), slog.Any("err", err))
		return refusal{result, codes.connack311, codes.connack5}
	}
	c.env.Identity, c.env.Transport = id, steps.MQTT
	c.env.Allowance = c.srv.cfg.Allowances.Hold(id)
	return refusal{}
}

// acceptSession answers CONNECT with success. Clean Session 0 is accepted without a session: the
// CONNACK says Session Present 0, and v5 clients are told a Session Expiry Interval of 0.
func (c *conn) acceptSession(p *connect) bool {
	info := connackInfo{
		receiveMaximum: uint16(c.srv.cfg.ReceiveMaximum),
		maximumPacket:  uint32(c.srv.cfg.MaxPacketBytes),
		endSession:     p.props.sessionExpiry != 0,
	}
	clientID := string(p.clientID)
	if clientID == "" && p.level == level5 { // MQTT-3.1.3-6, MQTT-3.2.2-16
		clientID = "ayumi-" + rand.Text()
		info.assignedID = clientID
	}
	keep, serverKeep := keepAlive(&c.srv.cfg, p)
	info.serverKeep = serverKeep
	c.idleLimit = keep * 3 / 2 // MQTT-3.1.2-22
	c.ownTopics = topicPrefix + string(c.env.Identity.Device) + "/"
	c.key = sessionKey{c.env.Identity.Device, clientID}
	c.sessionExpiry = p.props.sessionExpiry
	c.maximumPacket = p.props.maximumPacket
	c.problemInfo = p.props.requestProblem
	c.srv.claim(c)
	if c.control(ingest.ConnectUnits) != nil {
		return false
	}
	loop, raw := c.srv.loopFor(c.nc)

	c.mu.Lock()
	defer c.mu.Unlock()
	if loop != nil {
		c.loop, c.raw, c.env.BeforeWait = loop, raw, c.leave
	}
	if c.state >= closing { // by Shutdown or the next of its name
		return false
	}
	_ = c.nc.SetDeadline(time.Time{}) // fails only on a closed socket, as Read will
	c.accepted = true
	out := c.out.buffer()
	if c.level == level5 {
		out.b = appendConnack5(out.b, codeSuccess, &info)
	} else {
		out.b = appendConnack311(out.b, returnAccepted)
	}
	c.flushLocked()
	c.srv.metrics.connects[connectAccepted].Inc()
	return true
}

// keepAlive returns the keep alive time that is enforced and, for v5, the Server Keep Alive when
// it is not the client's own.
func keepAlive(cfg *Config, p *connect) (enforced time.Duration, server uint16) {
	enforced = time.Duration(p.keepAlive) * time.Second
	switch {
	case p.level == level311 && p.keepAlive == 0:
		return cfg.KeepAliveMax, 0
	case p.level == level311:
		return enforced, 0
	case p.keepAlive == 0:
		enforced = cfg.KeepAliveDefault
	case enforced > cfg.KeepAliveMax:
		enforced = cfg.KeepAliveMax
	default:
		return enforced, 0
	}
	return enforced, uint16(min(enforced/time.Second, math.MaxUint16))
}

// reject closes without a CONNACK (MQTT-3.1.4-1).
func (c *conn) reject(result connectResult, err error) {
	c.srv.metrics.connects[result].Inc()
	c.srv.log.Debug("mqtt connect failed", slog.String("result", connectNames[result]), slog.Any("err", err))
	c.end(causeConnectFailed, codeSuccess)
}

// refuseMalformed answers a CONNECT that cannot be read. 3.1.1 has a code only for the version;
// levels above 5 are told in the form of 5, those below 4 in that of 3.1.1 (MQTT-3.1.2-2).
func (c *conn) refuseMalformed(level protocolLevel, err error) {
	var perr *protocolError
	if !errors.As(err, &perr) {
		perr = &protocolError{code: codeUnspecified}
	}
	switch {
	case perr.code == codeUnsupportedVersion:
		ref := refusal{connectVersion, returnVersion, codeUnsupportedVersion}
		if level > level5 {
			c.level = level5
		} else {
			c.level = level311
		}
		c.refuse(ref)
	case level == level5:
		c.refuse(refusal{result: connectMalformed, v5: perr.code})
	default:
		c.reject(connectMalformed, err)
	}
}

// refuse sends a CONNACK with an error and closes (MQTT-3.2.2-5, MQTT-3.2.2-7).
func (c *conn) refuse(ref refusal) {
	c.srv.metrics.connects[ref.result].Inc()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state >= closing {
		return
	}
	out := c.out.buffer()
	if c.level == level5 {
		out.b = appendConnack5(out.b, ref.v5, nil)
	} else {
		out.b = appendConnack311(out.b, ref.v311)
	}
	c.endLocked(causeConnectFailed, codeSuccess)
}
