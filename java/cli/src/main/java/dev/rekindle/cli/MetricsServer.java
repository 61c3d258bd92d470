// SPDX-License-Identifier: MIT
package dev.rekindle.cli;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;

/** Answers Prometheus on this machine's own address, and nobody elsewhere. */
final class MetricsServer implements AutoCloseable {
    static final int PORT_MAX = 65535;

    private static final String PATH = "/metrics";

    /** What each question is answered with. */
    interface Source {
        String text() throws IOException;
    }

    private final HttpServer server;

    MetricsServer(int port, Source source) throws IOException {
        try {
            server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), port), 0);
        } catch (IOException failure) {
            throw new IOException(
                    "port " + port + " of this machine cannot be listened on: " + failure.getMessage(), failure);
        }
        // By its own thread it would read one request to its end before it looks at the next.
        server.setExecutor(command -> Thread.ofVirtual().start(command));
        server.createContext("/", exchange -> answer(exchange, source));
        server.start();
    }

    String address() {
        InetSocketAddress address = server.getAddress();
        return "http://" + address.getAddress().getHostAddress() + ":" + address.getPort() + PATH;
    }

    private static void answer(HttpExchange exchange, Source source) throws IOException {
        try (exchange) {
            if (!exchange.getRequestURI().getPath().equals(PATH)) {
                send(exchange, 404, "there is only " + PATH + "\n");
            } else if (!exchange.getRequestMethod().equals("GET")) {
                send(exchange, 405, "only GET is answered\n");
            } else {
                try {
                    send(exchange, 200, source.text());
                } catch (RuntimeException | IOException failure) {
                    send(exchange, 500, RekindleCommand.sentence(failure) + "\n");
                }
            }
        }
    }

    private static void send(HttpExchange exchange, int status, String answer) throws IOException {
        byte[] text = answer.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "text/plain; version=0.0.4; charset=utf-8");
        exchange.sendResponseHeaders(status, text.length);
        exchange.getResponseBody().write(text);
    }

    @Override
    public void close() {
        server.stop(0);
    }
}
