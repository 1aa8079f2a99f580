package com.example.tides;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.concurrent.Executors;

/** GET /next/TIME, such as /next/2024-05-17T12:00:00Z, on $PORT. */
public final class Server {
    private static final Tides TIDES = new Tides(Instant.parse("2024-01-01T03:00:00Z"));

    public static void main(String[] arguments) throws IOException {
        int port = Integer.parseInt(System.getenv("PORT"));
        HttpServer server = HttpServer.create(new InetSocketAddress(port), 0);
        server.createContext("/healthz", exchange -> answer(exchange, 200, "ok"));
        server.createContext("/next/", Server::next);
        server.setExecutor(Executors.newFixedThreadPool(4));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> server.stop(1)));
        server.start();
    }

    private static void next(HttpExchange exchange) throws IOException {
        String time = exchange.getRequestURI().getPath().substring("/next/".length());
        try {
            answer(exchange, 200, TIDES.next(Instant.parse(time)).toString());
        } catch (DateTimeParseException e) {
            answer(exchange, 400, "no time: " + time);
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = (text + "\n").getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, body.length);
        try (var out = exchange.getResponseBody()) {
            out.write(body);
        }
    }

    private Server() {}
}
